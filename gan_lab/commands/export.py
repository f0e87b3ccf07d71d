"""`gan-lab export`: a trained run as one file, for this package (safetensors) or for other programs (ONNX)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gan_lab.registry import unknown
from gan_lab.run.saved import SUFFIX, write_file
from gan_lab.run.trained_run import TrainedRun
from gan_lab.tracking.outputs import check_output

SUFFIXES: Mapping[str, str] = {"safetensors": SUFFIX, "onnx": ".onnx"}  # of the file, by format


def export(run: Path, format: str | None, out: Path, *, which: str, device: str, direction: str | None = None) -> str:
    """Write a run to the file `out`, which must not exist. Returns what to print.

    `format` is that of the file's suffix unless given. Raises ValueError, and leaves no file, where there is no such
    run, the format's extra is missing, or a network has no form in it.
    """
    chosen = check(format, out)
    if direction is not None and chosen == "safetensors":
        raise ValueError(f"--direction {direction}: --format safetensors has all networks; leave it out")
    trained = TrainedRun(run, device, which)
    if chosen == "safetensors":
        write_file(out, trained.to_save)
        return f"{out}  ({out.stat().st_size:,} bytes); gan_lab.load({str(out)!r})"
    from gan_lab.commands.onnx import write_onnx

    return f"{out}  ({write_onnx(trained, out, direction)}, {out.stat().st_size:,} bytes)"


def check(format: str | None, out: Path) -> str:
    """The format of a file. Raises ValueError where the file cannot be written."""
    by_suffix = {suffix: name for name, suffix in SUFFIXES.items()}
    chosen = format or by_suffix.get(out.suffix)
    if chosen is None:
        raise ValueError(f"--out {out}: give a {' or a '.join(by_suffix)}, or say which by --format")
    if chosen not in SUFFIXES:
        raise unknown("--format", chosen, SUFFIXES)
    if out.suffix != SUFFIXES[chosen]:
        raise ValueError(f"--out {out}: a file of --format {chosen} ends in {SUFFIXES[chosen]}")
    if os.path.lexists(out):
        raise ValueError(f"--out {out}: it exists, and nothing is overwritten; give another name")
    check_output("--out", out)
    return chosen
