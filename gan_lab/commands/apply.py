"""`gan-lab apply`: a trained translator on a user's own files."""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from gan_lab.commands.inputs import check_inputs, counted, planned
from gan_lab.core.files import printable
from gan_lab.core.runtime import inference
from gan_lab.datasets.exact import Unreadable, read_array
from gan_lab.datasets.sources import one_line
from gan_lab.datasets.store import scale, unscale
from gan_lab.display.pictures import save_image
from gan_lab.display.terminal import terminal
from gan_lab.registry import unknown
from gan_lab.run.failures import out_of_memory
from gan_lab.run.tiling import tile_side, translated
from gan_lab.run.trained_run import TrainedRun
from gan_lab.tracking.outputs import check_outside_runs

COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # of PNG, by channels: grey, colour, colour and opacity


def apply_to_files(
    run: Path,
    inputs: Sequence[Path],
    out: Path,
    *,
    tile: int | None,
    which: str,
    device: str,
    direction: str | None = None,
) -> int:
    """Write what a run makes of each picture to the folder `out`. Returns 0, and 2 where a file could not be done.

    `inputs` are files, and folders, of which hidden files are left out and sub-folders are kept. An output has its
    input's name, and the bits of the run's targets: a .png of 8 or 16, an .npy for channels that are no colours and for
    float data, in the units of `dataset.value_range` or `dataset.window`. Nothing is overwritten.

    Files that cannot be done are named on stderr, and the others done. Raises ValueError, before anything is written,
    where the run does not translate, two outputs would have one name, or one is there already. `tile`: see `tiling`.
    `direction` is one of the task's, where it has several.
    """
    tile_side(1, 1, 1, tile)  # refuses a bad number before anything is loaded
    _check(run, inputs, out)
    translator = Translator(TrainedRun(run, device, which), tile, direction)
    plan = planned(inputs, out, translator.suffix, "--out")
    out.mkdir(parents=True, exist_ok=True)
    failures: dict[Path, str] = {}
    output = terminal()
    columns = (TextColumn("{task.completed:,} of {task.total:,} pictures"), BarColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=output, transient=True, disable=not output.is_terminal) as progress:
            translator.tell = lambda line: output.print(line, markup=False)
            for file, target in progress.track(plan.items(), total=len(plan)):
                try:
                    translator(file, target)
                except OSError:  # of the folder that is written to: the next file would fare no better
                    raise
                except Exception as error:  # decoders and layers raise whatever they like
                    failures[file] = why_not(error, file)
    finally:
        for file, why in failures.items():
            print(printable(f"gan-lab: {file}: {why}"), file=sys.stderr)
    if done := len(plan) - len(failures):
        tiled = f", {translator.tiled:,} of them in overlapping tiles" if translator.tiled else ""
        print(f"{counted(done)} in {out}{tiled}")
    if failures:
        print(f"gan-lab: {len(failures):,} of {counted(len(plan))} could not be done", file=sys.stderr)
    return 2 if failures else 0


def why_not(error: Exception, file: Path) -> str:
    """In a line, why a file could not be done."""
    if out_of_memory(error):
        return "memory does not suffice; give a smaller --tile, such as 64"
    why = one_line(error)[:200].removeprefix(f"{file}: ")
    return why if isinstance(error, (Unreadable, ValueError)) else f"the network does not take it: {why}"


# -- which files -------------------------------------------------------------------------------------------------------


def _check(run: Path, inputs: Sequence[Path], out: Path) -> None:
    check_outside_runs("--out", out)
    if out.resolve() == run.resolve():  # a run without records
        raise ValueError(f"--out {out}: {run} is a run, and stays as it is; write elsewhere")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out}: that is a file; give a folder")
    check_inputs(inputs, out)


# -- one file ----------------------------------------------------------------------------------------------------------


class Translator:
    """A trained run as a function from a picture file to a picture file. `tell` receives a line where memory runs out.

    Raises ValueError where the run does not translate, or not in that direction; when called, Unreadable or ValueError
    for files that it cannot take, and OSError where the output cannot be written.
    """

    def __init__(self, trained: TrainedRun, tile: int | None, direction: str | None = None) -> None:
        task, path = trained.task, trained.path
        if not task.translates:
            origin = "data" if task.needs_data else "noise"
            raise ValueError(
                f"{path} makes samples from {origin} (task={trained.config.task.name}); apply wants a run of a task "
                f"that translates, such as task=translation; gan-lab sample {path} shows what it makes"
            )
        columns = trained.columns
        self.trained, self.tile = trained, tile
        if direction is not None and direction not in task.directions:
            raise unknown(f"--direction of task={trained.config.task.name}", direction, task.directions)
        direction = direction or next(iter(task.directions), None)
        usual = "source" if "source" in columns else "sample", task.reference
        self.given, self.made = (columns[name] for name in task.directions.get(direction, usual))
        self.way = {} if direction is None else {"direction": direction}
        self.factor: int = task.factor
        self.clips = bool(self.given.window)  # to the window of the run's data, as these were
        ends = self.given.window or trained.config.dataset.get("value_range")
        self.value_range: tuple[float, float] | None = tuple(ends) if ends else None
        is_png = self.made.kind == "mask" or (
            self.made.dtype in ("uint8", "uint16") and self.made.shape[0] in COLOUR_TYPES
        )
        self.suffix = ".png" if is_png else ".npy"
        self.tiled = 0  # pictures that were made in tiles
        self.tell: Callable[[str], object] = print

    def __call__(self, file: Path, target: Path) -> None:
        self.write(self.output(self.source(file), file), target)

    def source(self, file: Path) -> Tensor:
        """What the network is given of a file, [1, C, h, w]."""
        pixels, alpha = with_channels(read_array(file), self.given.shape[0])
        if self.clips and self.value_range is not None:
            pixels = pixels.astype(np.float32).clip(*self.value_range)
        return self._source(scaled(pixels, self.given.dtype, self.value_range), alpha)

    def output(self, source: Tensor, file: Path) -> Tensor:
        """What is to be written of a source, [1, C', h', w']. `file` is named where memory runs out."""
        ran_out: list[str] = []
        task, finite, nets = self.trained.task, self.trained.finite, self.trained.nets

        def translate(part: Tensor) -> Tensor:
            return finite(task.translate(nets, part, **self.way))

        with inference(nets, self.trained.batch_norm), torch.no_grad():
            output = translated(translate, source, self.factor, self.tile, tell=ran_out.append)
        for line in ran_out:
            self.tell(f"{file}: {line}")
        self.tiled += bool(ran_out) or tile_side(source.shape[2], source.shape[3], self.factor, self.tile) > 0
        made: Tensor = task.in_file(output)
        return made

    def _source(self, picture: Tensor, alpha: Tensor | None) -> Tensor:
        source: Tensor = self.trained.task.source_of(picture, alpha)
        if source is picture and alpha is not None and bool((alpha < 1).any()):  # the task has no use for it
            raise ValueError("it has transparent pixels, which this run does not take: save it without")
        return source

    def write(self, output: Tensor, target: Path) -> None:
        """There whole or not at all."""
        values = unscale(output, getattr(torch, self.made.dtype))[0].numpy()
        if self.made.dtype == "float32" and self.value_range is not None:
            low, high = self.value_range
            values = ((values.astype(np.float64) + 1) * ((high - low) / 2) + low).astype(np.float32)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.stem}-{os.getpid()}{target.suffix}")
        try:
            if self.suffix == ".npy":
                np.save(temporary, values[..., 0] if values.shape[2] == 1 else values)
            elif values.dtype == np.uint16:
                temporary.write_bytes(png_16(values))
            else:
                save_image(values, temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def with_channels(pixels: np.ndarray, channels: int) -> tuple[np.ndarray, Tensor | None]:
    """The values [H, W, channels] of a file, and its opacity [1, 1, H, W] in [0, 1], None for a file without.

    Grey is repeated for colour; colour whose channels are all equal is taken as grey. Raises ValueError for any other
    number of channels.
    """
    alpha, has = None, pixels.shape[2]
    if has != channels and has in (2, 4) and pixels.dtype.kind == "u":
        opacity = pixels[..., -1].astype(np.float32) / np.iinfo(pixels.dtype).max
        alpha, pixels, has = torch.from_numpy(opacity)[None, None], pixels[..., :-1], has - 1
    if (has, channels) == (1, 3):
        pixels = np.repeat(pixels, 3, axis=2)
    elif (has, channels) == (3, 1) and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., :1]
    elif has != channels:
        raise ValueError(f"it holds {has} channel{'s' * (has > 1)}; this run takes {channels}: convert it")
    return pixels, alpha


def scaled(pixels: np.ndarray, dtype: str, value_range: Sequence[float] | None) -> Tensor:
    """A file's values [H, W, C] as the networks see them, float32 [1, C, H, W]; `dtype` is that of the run's data.

    8 and 16 bits go from -1 to 1. For a run of float data the ends of `value_range` do; without one, values stay as
    they are. Raises ValueError for values that the run's data cannot have had.
    """
    if dtype != "float32":
        if pixels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"it holds {pixels.dtype}; this run takes pictures of 8 or 16 bits a channel")
        return scale(torch.from_numpy(np.ascontiguousarray(pixels))[None])
    if pixels.dtype == np.uint8 or (value_range is None and pixels.dtype.kind != "f"):
        raise ValueError(f"it holds {pixels.dtype}; this run was trained on other numbers: give those, as an .npy")
    if value_range is not None:
        low, high = value_range
        if pixels.min() < low or pixels.max() > high:
            raise ValueError(
                f"it holds values from {pixels.min():g} to {pixels.max():g}, and this run knows {low:g} to {high:g} "
                "(dataset.value_range): clip them"
            )
        pixels = (pixels.astype(np.float64) - low) * (2 / (high - low)) - 1
    return scale(torch.from_numpy(np.ascontiguousarray(pixels, np.float32))[None])


def png_16(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel (ISO/IEC 15948), uint16 [H, W, C] of 1, 3 or 4 channels; PIL writes grey only."""
    height, width, channels = pixels.shape
    rows = np.frombuffer(pixels.astype(">u2").tobytes(), np.uint8).reshape(height, -1)
    # Every row as its difference from the one above, which filter 2 says: photographs then take less.
    rows = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    rows = np.concatenate([np.full((height, 1), 2, np.uint8), rows], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    packed = (struct.pack(">I", len(b)) + name + b + struct.pack(">I", zlib.crc32(name + b)) for name, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)
