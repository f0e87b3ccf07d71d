"""`gan-lab score`: how far from normal a user's own pictures are, by a trained detector."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from gan_lab.commands.inputs import check_inputs, counted, files_in, planned
from gan_lab.core.files import printable, write_atomically
from gan_lab.core.runtime import inference
from gan_lab.datasets.decoding import decode
from gan_lab.datasets.store import scale
from gan_lab.display.pictures import Sheet, heat, save_sheet
from gan_lab.display.terminal import terminal
from gan_lab.run.trained_run import TrainedRun
from gan_lab.tasks.contract import Example, joined
from gan_lab.tracking.outputs import check_output, check_outside_runs

TOGETHER = 64  # pictures in a batch
NORMAL = 2_000  # examples of the run's own, at most, with which scores are compared
SHOWN = 10  # files in the printed table, the least normal ones first


@dataclass(frozen=True)
class Scored:
    """A file's score, and the share of the run's own normal pictures whose score is lower."""

    file: Path
    score: float
    above: float


def score_files(
    run: Path, inputs: Sequence[Path], *, table: Path | None, maps: Path | None, which: str, device: str
) -> int:
    """Print the least normal pictures; write all scores to a CSV file, and maps as pictures. Returns 0, or 2.

    `inputs` are files, and folders of them with their sub-folders. A picture is cropped and resized as the run's data
    are. Files that cannot be read are named on stderr, and the others done: then 2 is returned. Raises ValueError,
    before anything is written, for a run that detects nothing, and for outputs that cannot be written.
    """
    check_output("--csv", table)
    check_inputs(inputs, maps)
    places: dict[Path, Path] = {}
    if maps is not None:
        check_outside_runs("--maps", maps)
        if maps.exists() and not maps.is_dir():
            raise ValueError(f"--maps {maps}: that is a file; give a folder")
        places = planned(inputs, maps, ".png", "--maps")
    detector = Detector(TrainedRun(run, device, which))
    files = list(dict.fromkeys(file for given in inputs for file in files_in(given, maps)))
    failures: dict[Path, str] = {}
    scored = [*detector.scored(files, places, failures)]
    for file, why in failures.items():
        print(printable(f"gan-lab: {file}: {why}"), file=sys.stderr)
    if scored:
        print(printable(_report(scored)))
        if table is not None:
            write_atomically(table, _csv(scored))
            print(f"scores    {table}")
        if maps is not None:
            print(f"maps      {maps}  (the brighter, the less normal)")
    if failures:
        print(f"gan-lab: {len(failures):,} of {counted(len(files))} could not be read", file=sys.stderr)
    return 2 if failures else 0


class Detector:
    """A trained run as a function from picture files to scores. Raises ValueError where the run detects nothing."""

    def __init__(self, trained: TrainedRun) -> None:
        if not trained.task.detects:
            name = trained.config.task.name
            raise ValueError(
                f"{trained.path} is a run of task={name}, which scores no pictures; give one of task=fanogan"
            )
        column = trained.columns["sample"]
        if column.dtype != "uint8":
            raise ValueError(f"{trained.path} was trained on {column.dtype}, and picture files hold 8 bits")
        self.trained = trained
        self.channels, *size = column.shape
        self.size: tuple[int, int] = (size[0], size[1])
        self.normal = self._of_normal_ones().sort().values

    def _of_normal_ones(self) -> Tensor:
        """The scores of the run's own normal pictures: held-out ones, where there are some."""
        task = self.trained.task
        with inference(self.trained.nets, self.trained.batch_norm) as nets:
            found = joined(task.examples(nets, NORMAL, 0, self.trained.data))
        score: Tensor = found["score"]
        return score[found["anomaly"] == 0] if "anomaly" in found else score

    def scored(self, files: Sequence[Path], places: Mapping[Path, Path], failures: dict[Path, str]) -> Iterator[Scored]:
        """The readable files with their scores. `failures` gets the others with the reason; `places` are for maps."""
        output = terminal()
        batches = [files[start : start + TOGETHER] for start in range(0, len(files), TOGETHER)]
        for batch in track(batches, "scoring", console=output, transient=True, disable=not output.is_terminal):
            read = {file: decode(file, self.size, self.channels) for file in batch}
            failures |= {file: pixels for file, pixels in read.items() if isinstance(pixels, str)}
            known = {file: pixels for file, pixels in read.items() if not isinstance(pixels, str)}
            if not known:
                continue
            found = self.detected([*known.values()])
            for row, file in enumerate(known):
                if file in places:
                    save_sheet(Sheet(heat(found["map"][row : row + 1])[0]), places[file])
                yield Scored(file, float(found["score"][row]), float(found["above"][row]))

    def detected(self, pixels: Sequence[np.ndarray]) -> Example:
        """`score` [B], the share `above` [B] and the `map` [B, H, W] of pictures uint8 [H, W, C] of the run's size."""
        pictures = scale(torch.from_numpy(np.stack(pixels)))
        with inference(self.trained.nets, self.trained.batch_norm) as nets:
            found = self.trained.task.detect(nets, pictures)
        scores = self.trained.finite(found["score"])
        above = torch.searchsorted(self.normal, scores) / max(len(self.normal), 1)
        return {"score": scores, "above": above, "map": found["map"]}


def _report(scored: Sequence[Scored]) -> str:
    order = sorted(scored, key=lambda one: -one.score)[:SHOWN]
    lines = ["     score  above normal  the least normal pictures"]
    lines += [f"{one.score:10.4g}  {one.above:12.1%}  {one.file}" for one in order]
    more = len(scored) - len(order)
    return "\n".join([*lines, *([f"{more:,} more; --csv FILE has all"] if more else [])])


def _csv(scored: Sequence[Scored]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "score", "above_normal"])
    writer.writerows([str(one.file), f"{one.score:.6g}", f"{one.above:.4f}"] for one in scored)
    return text.getvalue()
