"""A task's function as an ONNX file, checked by another program: onnxruntime must compute what torch does."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.core.runtime import inference
from gan_lab.run.trained_run import TrainedRun
from gan_lab.tasks.contract import Exported

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # absolute, and relative where values are larger than 1
WITHOUT_FORM = r"(?:No ONNX function found for|No decompositions registered for)[^\n]*?(aten[.:\w]+)"
BATCHES = (1, 3, 64)  # numbers of rows of the check, as far as there are so many


def write_onnx(trained: TrainedRun, file: Path, direction: str | None = None) -> str:
    """Write what the run's task exports, for batches of any size. Returns what the file takes and gives.

    Raises ValueError, and leaves no file, without the extra `export`, where an operator has no form in ONNX, and where
    onnxruntime computes something else than torch.
    """
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise ValueError(f'--format onnx needs {" and ".join(missing)}: pip install "hydra-gan-lab[export]"')
    trained.nets.cpu()
    with inference(trained.nets, trained.batch_norm, trained.task.warm) as nets, torch.no_grad():
        exported = trained.task.exported(nets, trained.data, direction)
        module = _Module(exported, trained.task).eval()
        temporary = file.with_name(f".{file.name}-{os.getpid()}")
        try:
            _write(module, exported, temporary, trained.path)
            _check(module, exported, temporary, trained.path)
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)
    return f"{_sizes(exported.inputs)} -> {', '.join(exported.outputs)}"


class _Module(nn.Module):
    """The function as a module that owns every tensor it uses."""

    def __init__(self, exported: Exported, task: Any) -> None:
        super().__init__()
        self.function = exported.function
        self.owned = nn.ModuleDict({name: part for name, part in vars(task).items() if isinstance(part, nn.Module)})

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def _write(module: nn.Module, exported: Exported, file: Path, run: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    try:
        with _quiet():
            torch.onnx.export(
                module, tuple(exported.inputs.values()), str(file), dynamo=True, verbose=False, external_data=False,
                input_names=[*exported.inputs], output_names=[*exported.outputs],
                dynamic_shapes=(tuple({0: batch} for _ in exported.inputs),),
            )  # fmt: skip
    except Exception as error:  # whatever the exporter raises, the networks have no form in ONNX
        raise ValueError(f"--format onnx: {run} cannot be exported: {_why(error)}; --format safetensors can") from error


def _why(error: BaseException) -> str:
    """The operator without a form, or else the innermost reason, in a line."""
    reasons = []
    cause: BaseException | None = error
    while cause is not None:
        reasons.append(str(cause))
        cause = cause.__cause__
    if operator := re.search(WITHOUT_FORM, "\n".join(reasons)):
        return f"{operator[1]} has no form in ONNX"
    return " ".join(reasons[-1].split())[:200]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A context without the exporter's warnings and reports, which are for its authors."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _check(module: nn.Module, exported: Exported, file: Path, run: Path) -> None:
    """Raise ValueError where onnxruntime computes something else than torch, in batches of several sizes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    rows = len(next(iter(exported.inputs.values())))
    for count in sorted({min(count, rows) for count in BATCHES}):
        given = {name: value[:count] for name, value in exported.inputs.items()}
        made = module(*given.values())
        wanted: Sequence[Tensor] = made if isinstance(made, tuple) else (made,)
        try:
            found = session.run(None, {name: value.numpy() for name, value in given.items()})
        except Exception as error:  # onnxruntime's own, which have no common base
            why = " ".join(str(error).split())[:200]
            raise ValueError(
                f"--format onnx: {run} cannot be exported: onnxruntime does not take {count} rows: {why}; --format "
                "safetensors can"
            ) from error
        for name, ours, theirs in zip(exported.outputs, wanted, found, strict=True):
            gap = (torch.from_numpy(theirs) - ours).abs() / ours.abs().clamp(min=1)
            if ours.shape != theirs.shape or not float(gap.max()) <= TOLERANCE:
                raise ValueError(
                    f"--format onnx: {run}: onnxruntime's {name} of {count} rows differs from torch's by "
                    f"{float(gap.max()):.2g}, more than {TOLERANCE:g}; --format safetensors keeps all bits"
                )


def _sizes(inputs: Any) -> str:
    return ", ".join(f"{name} [{' x '.join(['N', *map(str, value.shape[1:])])}]" for name, value in inputs.items())
