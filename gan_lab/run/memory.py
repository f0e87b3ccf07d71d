"""Refuses networks that this machine cannot hold, before they are allocated.

Linux promises more memory than there is, and kills the process that uses it: by then it is too late for a message.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

MADE = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.arange, torch.eye}
MOST_TENSORS = 20_000  # a network of so many layers cannot be trained anyway


def available_bytes() -> float:
    """Memory that this machine can give without swapping; infinite where that is not known."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return math.inf


class Affordable(TorchFunctionMode):
    """A context in which tensors that do not fit into memory are refused. Raises ValueError."""

    def __init__(self) -> None:
        super().__init__()
        self._made = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in MADE:
            self._made += 1
            self._check(args, kwargs)
        return func(*args, **kwargs)

    def _check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._made > MOST_TENSORS:
            raise ValueError(f"these networks have more than {MOST_TENSORS:,} tensors; give smaller depths")
        size = kwargs.get("size", args[0] if args and isinstance(args[0], (tuple, list)) else args)
        numbers = [side for side in size if isinstance(side, int)] if isinstance(size, (tuple, list)) else []
        wanted = math.prod(numbers) * 4
        # The small ones are not worth a look at the machine's memory.
        if wanted > 1 << 28 and wanted > (free := available_bytes()):
            sides = " x ".join(f"{side:,}" for side in numbers)
            raise ValueError(
                f"these networks want a tensor of {sides} numbers, {wanted / 1e9:,.0f} GB, and this machine has "
                f"{free / 1e9:,.1f} GB free; give smaller sizes"
            )
