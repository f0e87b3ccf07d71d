"""The card: which it is, how its work is timed, and how it rounds single precision."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from tests.gpu.rows import Row, Setting

PRECISIONS = ("fp32", "tf32", "bf16")


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    """Let the card end what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(action: Callable[[], object], times: int) -> float:
    """Mean seconds of an action that is called several times in a row, until the card has done all of it."""
    wait()
    start = time.perf_counter()
    for _ in range(times):
        action()
    wait()
    return (time.perf_counter() - start) / times


def often(action: Callable[[], object], tiny: bool, span: float = 0.25) -> int:
    """How many calls take about `span` seconds; once at tiny sizes. Calls it twice."""
    action()
    return 1 if tiny else max(1, min(200, round(span / seconds(action, 1))))


def median_seconds(action: Callable[[], object], tiny: bool, rounds: int = 5) -> float:
    times = often(action, tiny)
    return statistics.median(seconds(action, times) for _ in range(1 if tiny else rounds))


@contextmanager
def rounding(precision: str) -> Iterator[None]:
    """Single precision as it is (fp32), or with TensorFloat-32 in matrix products and convolutions (tf32, bf16).

    A run leaves torch's own defaults: TensorFloat-32 in convolutions, none in matrix products.
    """
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    on_card = torch.cuda.is_available() and precision != "fp32"
    torch.set_float32_matmul_precision("high" if on_card else "highest")
    torch.backends.cudnn.allow_tf32 = on_card
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def refused(precision: str) -> str | None:
    """Why this machine cannot compute so, if it cannot."""
    if precision == "tf32":
        if not torch.cuda.is_available():
            return "TensorFloat-32 is of CUDA's"
        if torch.cuda.get_device_capability() < (8, 0):
            return "this card has no units for TensorFloat-32"
    if precision == "bf16" and torch.cuda.is_available():
        units = torch.cuda.is_bf16_supported(including_emulation=False)
        return None if units else "this card has no units for bf16"
    return None


def allocated() -> int:
    """Bytes of tensors on the card, after what nobody holds was let go. Peaks count from here."""
    gc.collect()
    if not torch.cuda.is_available():
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def peak_since(before: int) -> float | None:
    """Megabytes of tensors at most since `allocated`, beyond those before; None on a CPU."""
    return (torch.cuda.max_memory_allocated() - before) / 1e6 if torch.cuda.is_available() else None


def measure(setting: Setting) -> Iterator[Row]:
    """What figures depend on besides the code."""
    yield Row("torch", note=f"torch {torch.__version__}, CUDA {torch.version.cuda}, Python {platform.python_version()}")
    if not torch.cuda.is_available():
        note = f"no CUDA device: tiny sizes on {os.cpu_count()} cores, which test this script and show no speed"
        yield Row("device", note=note, state="skipped")
        return
    about = torch.cuda.get_device_properties(0)
    figures = {"GB": about.total_memory / 1e9, "multiprocessors": about.multi_processor_count}
    note = f"{about.name}, capability {about.major}.{about.minor}, cuDNN {torch.backends.cudnn.version()}"
    yield Row("device", figures, note)
