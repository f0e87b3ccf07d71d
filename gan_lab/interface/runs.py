"""A run as an object."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor, nn

from gan_lab.commands.evaluate import EvaluateOptions, measure, show
from gan_lab.commands.export import export
from gan_lab.commands.push import push
from gan_lab.commands.sample import check_number, sheet_of
from gan_lab.config.reading import read_config
from gan_lab.core.files import BadFile, read_bytes
from gan_lab.display.pictures import Sheet
from gan_lab.display.printed import Printed
from gan_lab.interface.frames import frame
from gan_lab.run.hub import SCHEME, downloaded
from gan_lab.run.saved import check_run, exported_file
from gan_lab.run.trained_run import TrainedRun
from gan_lab.tracking.console import last_words
from gan_lab.tracking.run_directory import RunDirectory

if TYPE_CHECKING:
    import pandas

Label = int | str | Sequence[int | str]


class Scores(dict[str, dict[str, Any]], Printed):
    """Each score's value and provenance, by its name: `scores["fd/mnist5k-03da3a14/train"]["value"]`."""

    def __init__(self, scores: Mapping[str, dict[str, Any]], notes: Sequence[str], about: str) -> None:
        super().__init__(scores)
        self.notes, self.about = tuple(notes), about

    def print_to(self, output: Console) -> None:
        show(self, self.notes, self.about, output)


class Run(Printed):
    """A trained run. Its networks are loaded when they are first used.

    `checkpoint` is newest, best (by the scores seen while training) or a number of images; `device` is auto, cpu, cuda
    or mps. Nothing here changes the run.
    """

    def __init__(self, path: Path | str, *, checkpoint: str | int = "newest", device: str = "auto") -> None:
        self.path = Path(path)
        check_run(self.path)
        self.checkpoint, self.device = str(checkpoint), device

    def __repr__(self) -> str:
        return f"<gan_lab.Run {self.path}: {self.status}>"

    # -- what is known of it -------------------------------------------------------------------------------------------

    @cached_property
    def trained(self) -> TrainedRun:
        """The task with its trained networks. Raises ValueError where there is no such checkpoint."""
        return TrainedRun(self.path, self.device, self.checkpoint)

    @property
    def networks(self) -> nn.ModuleDict:
        """The networks by name, in eval mode, with averaged weights where the run has them."""
        return self.trained.nets.eval()

    @property
    def config(self) -> DictConfig:
        """The resolved config."""
        return self.trained.config if self._exported else read_config(self.path / "config.yaml")

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json, now: status, error, scores with provenance, best checkpoint, health."""
        return dict(self.trained.saved.summary) if self._exported else self._directory.summary

    @property
    def status(self) -> str:
        """finished, running, failed, diverged, interrupted, pruned, killed, damaged or not started."""
        return str(self.summary.get("status")) if self._exported else self._directory.status()

    @property
    def _exported(self) -> bool:
        return exported_file(self.path) is not None

    @property
    def _directory(self) -> RunDirectory:
        return RunDirectory(self.path)

    def metrics(self) -> pandas.DataFrame:
        """The records of metrics.jsonl by images: losses, scores while training, speed; NaN where there is none.

        Needs pandas (the extra `notebook`).
        """
        rows: dict[int, dict[str, Any]] = {}
        for record in self._directory.read_metrics():  # losses and scores are two records
            rows.setdefault(record["images"], {}).update(record)
        return frame(rows.values(), "run.metrics()", index="images")

    # -- what it makes -------------------------------------------------------------------------------------------------

    def sample(
        self, num: int = 64, *, seed: int = 0, label: Label | None = None, truncation: float | None = None
    ) -> Tensor:
        """Up to `num` samples, on the CPU: pictures float32 [N, C, H, W] in [-1, 1], points [N, 2], or tokens [N, L].

        A seed gives the same ones anywhere. `label` is a class, by number or name, or several, which take turns.
        `truncation` below 1 gives more typical and less varied ones, of networks with a mean style (1; -2 to 2).
        Translators, autoencoders and the like make samples of held-out data.
        """
        return self.examples(num, seed=seed, label=label, truncation=truncation)["sample"]

    def examples(
        self, num: int = 64, *, seed: int = 0, label: Label | None = None, truncation: float | None = None
    ) -> dict[str, Tensor]:
        """The samples with what the task knows beside them, such as `label`, `source` and `target`: columns by name."""
        check_number(num)
        labels = self._labels(label)  # with truncation 0, no class would make a difference
        with self.trained.truncated(truncation):
            return self.trained.examples(num, seed, labels)

    def show(
        self,
        num: int | None = None,
        *,
        seed: int = 0,
        label: Label | None = None,
        grid: str | None = None,
        truncation: float | None = None,
    ) -> Sheet:
        """A picture, or lines of text, that a notebook displays. `grid` is a layout, as of `gan-lab sample --grid`."""
        labels = self._labels(label)
        with self.trained.truncated(truncation):
            return sheet_of(self.trained, num, seed, labels, grid)

    def _labels(self, label: Label | None) -> Tensor | None:
        if label is None:
            return None
        several = not isinstance(label, str) and isinstance(label, Sequence)
        return self.trained.labels(",".join(map(str, label)) if several else str(label))  # type: ignore[arg-type]

    def evaluate(
        self,
        metrics: Sequence[str] | None = None,
        *,
        samples: int | None = None,
        noise_seeds: int | None = None,
        overrides: Sequence[str] = (),
    ) -> Scores:
        """Scores with fresh noise. `metrics` are all possible ones, unless named; numbers are those of the config.

        `overrides` are words such as `feature_extractor=clip`, as `gan-lab evaluate` takes them.
        """
        names = None if metrics is None else list(metrics)
        options = EvaluateOptions(
            self.path, None, names, samples, noise_seeds, self.checkpoint, self.device, overrides=tuple(overrides)
        )
        found = measure(options, self.trained)
        return Scores(found.scores, found.evaluator.notes, found.about)

    def export(self, file: Path | str, *, format: str | None = None, direction: str | None = None) -> None:
        """Write the run as one new file, .safetensors or .onnx, as `gan-lab export` does."""
        export(self.path, format, Path(file), which=self.checkpoint, device=self.device, direction=direction)

    def push(
        self,
        name: str | None = None,
        *,
        out: Path | str | None = None,
        license: str | None = None,
        public: bool = False,
        update: bool = False,
    ) -> None:
        """Share the run as `OWNER/NAME` on the Hugging Face Hub, or as a new folder, as `gan-lab push` does."""
        folder = None if out is None else Path(out)
        push(self.path, name, out=folder, licence=license, public=public, update=update, which=self.checkpoint)

    # -- display -------------------------------------------------------------------------------------------------------

    def print_to(self, output: Console) -> None:
        summary, status = self.summary, self.status
        output.print(str(self.path), markup=False, style="bold")
        if "images" not in summary:
            output.print(status, markup=False)
            return
        known = {"images": 0, "seconds": 0.0} | summary | {"status": status}
        for line in last_words(known, self.path, None, short=False):
            output.print(line, markup=False)

    def _repr_html_(self) -> str:
        return super()._repr_html_() + self._last_sheet()

    def _last_sheet(self) -> str:
        """The newest sheet of samples as HTML."""
        sheets = self._directory.sheets()
        if not sheets:
            return ""
        newest = sheets[max(sheets)]
        try:
            content = read_bytes(newest)
        except (OSError, BadFile):
            return ""
        if newest.suffix == ".png":
            return f'<img src="data:image/png;base64,{base64.b64encode(content).decode()}">'
        return f"<pre>{html.escape(content.decode(errors='replace')[:4_000])}</pre>"


def load(path: Path | str, *, checkpoint: str | int = "newest", device: str = "auto") -> Run:
    """A run by its directory, by an exported file, or by its name on the Hugging Face Hub.

    `gan_lab.load("runs/ring/2026-11-27_17-44-00")`, `gan_lab.load("ring.safetensors")`,
    `gan_lab.load("hf://OWNER/NAME")` and `"hf://OWNER/NAME@REVISION"`. Raises FileNotFoundError, which is a ValueError
    here, where there is no run.
    """
    if str(path).startswith(SCHEME):
        path = downloaded(str(path))
    return Run(path, checkpoint=checkpoint, device=device)
