"""`gan-lab sample`: examples of a trained run as a sheet to look at, an array, or a folder of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan_lab import registry
from gan_lab.core.files import printable
from gan_lab.datasets.store import unscale
from gan_lab.display.pictures import Sheet, save_image, save_sheet
from gan_lab.run.trained_run import TrainedRun
from gan_lab.tasks.contract import Example
from gan_lab.tracking.outputs import check_output, check_outside_runs

MOST = 1_000_000  # examples of one call; they are all in memory
DEFAULT = Path("samples.png")  # where pictures go without `--out`; lines are printed


def check_number(num: int | None) -> None:
    """Raise ValueError for a number of examples that cannot be made."""
    if num is not None and not 1 <= num <= MOST:
        raise ValueError(f"--num {num}: it must be at least 1 and at most {MOST:,}")


def sheet_of(trained: TrainedRun, num: int | None, seed: int, labels: Tensor | None, grid: str | None) -> Sheet:
    """What a person looks at: examples as the task shows them, or one of its layouts."""
    check_number(num)
    if grid is None:
        return trained.task.sheet(trained.examples(num or 64, seed, labels), trained.data)
    layouts = trained.task.layouts
    if grid not in layouts:
        raise registry.unknown(f"--grid of task={trained.config.task.name}", grid, layouts)
    if has_points(trained):
        raise ValueError(f"--grid {grid}: {trained.path} makes points, not pictures; give a .png or an .npz")
    return layouts[grid](trained, num or 8, seed, labels)


def has_points(trained: TrainedRun) -> bool:
    return "points" in {column.kind for column in trained.columns.values()}


def _check_options(out: Path, num: int | None, grid: str | None) -> None:
    check_number(num)
    if out.suffix not in ((".png",) if grid else (".png", ".npz", ".txt", "")):
        raise ValueError(f"--out {out}: give a .png" + ("" if grid else ", an .npz, a .txt, or a folder"))
    if out.suffix == "" and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out}: it exists and is not an empty folder; nothing is overwritten")
    if out.suffix:
        check_output("--out", out)
    check_outside_runs("--out", out)


def write_samples(
    run: Path,
    out: Path | None,
    num: int | None = None,
    seed: int = 0,
    device: str = "auto",
    *,
    label: str | None = None,
    grid: str | None = None,
    which: str = "newest",
    truncation: float | None = None,
) -> str:
    """Write examples of a run: a sheet to look at (.png, or .txt for lines), an .npz, or a folder with a PNG each.

    The .npz has `images` (uint8 NHWC), `points` or `tokens`, and the examples' other columns: `source`, `target`,
    `label`. With `grid`, one of the task's layouts is written as a .png. `truncation` draws samples towards the mean
    style. Returns what to print: the sheet's caption, if it has one, and the file. Without `out`, pictures go to
    samples.png, and lines of text are returned themselves. Raises ValueError for a wrong number, an unknown class, a
    folder that is not empty, or an unfitting file type.
    """
    given, out = out, out or DEFAULT
    _check_options(out, num, grid)
    trained = TrainedRun(run, device, which)
    if out.suffix == "" and has_points(trained):
        raise ValueError(f"--out {out}: {run} makes points, not pictures; give a .png or an .npz")
    labels = None if label is None else trained.labels(label)
    with trained.truncated(truncation):
        sheet = sheet_of(trained, num, seed, labels, grid) if grid else None
        examples = {} if grid else trained.examples(num or 64, seed, labels)
    if sheet is not None:
        save_sheet(sheet, out)
        return _said(sheet, out)
    if out.suffix == ".npz":
        dtype = trained.columns[trained.task.reference].dtype if trained.task.reference in trained.columns else "uint8"
        np.savez_compressed(out, **as_arrays(examples, dtype))  # type: ignore[arg-type]
    elif out.suffix == "":
        _write_folder(examples["sample"], out, run)
    else:
        sheet = trained.task.sheet(examples, trained.data)
        if given is None and isinstance(sheet.content, str):
            return "\n".join(map(printable, sheet.content.splitlines()))
        if sheet.suffix != out.suffix:
            raise ValueError(f"--out {out}: what {run} makes is shown in a {sheet.suffix}; give one, or an .npz")
        save_sheet(sheet, out)
        return _said(sheet, out)
    return str(out)


def _said(sheet: Sheet, out: Path) -> str:
    return f"{sheet.caption}\n{out}" if sheet.caption else str(out)


def as_arrays(examples: Example, dtype: str = "uint8") -> dict[str, np.ndarray]:
    """Columns of examples as arrays for an .npz. Samples are called `images`, `points` or, as whole numbers, `tokens`.

    Pictures are NHWC in the data's dtype: uint8, uint16 or float32. Inputs with values beyond the range, such as noisy
    ones, are float32; samples are clipped to it.
    """
    sample = examples["sample"]
    names = {"sample": {4: "images", 2: "points"}.get(sample.dim(), "sample")}
    if sample.dtype == torch.int64:
        names["sample"] = "tokens"
    arrays = {}
    for name, column in examples.items():
        if column.dim() == 4:
            clips = name != "sample" and bool((column.abs() > 1.5).any())  # where that would lose more than rounding
            column = unscale(column, getattr(torch, "float32" if clips else dtype))
        arrays[names.get(name, name)] = column.numpy()
    return arrays


def _write_folder(samples: Tensor, out: Path, run: Path) -> None:
    if samples.dim() != 4:
        raise ValueError(f"--out {out}: {run} makes no pictures; give a .png, an .npz or a .txt")
    out.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(unscale(samples).numpy()):
        save_image(image, out / f"{i:06d}.png")
