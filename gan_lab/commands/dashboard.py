"""`gan-lab dashboard`: a saved workspace and a report in W&B for a sweep or a run, made from what its folders say."""

from __future__ import annotations

import contextlib
import io
import math
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import yaml

from gan_lab import registry
from gan_lab.compare.comparison import Comparison
from gan_lab.compare.runs import Run, differing, find
from gan_lab.compare.settings import shorter
from gan_lab.metrics.base import is_headline, short_names
from gan_lab.tracking.redaction import redacted
from gan_lab.tracking.run_directory import SELECTION, SPEED
from gan_lab.tracking.wandb import no_way_online

IMAGES = "images"  # the axis of everything
SEED = "trainer.seed"
PICTURES = ("samples", "neighbours")
MISSING = 'gan-lab dashboard needs wandb-workspaces: pip install "hydra-gan-lab[dashboard]"'


@dataclass
class Subject:
    """What is shown: runs of one project in W&B, and what is worth a panel of them."""

    path: Path
    runs: list[Run]
    entity: str
    project: str
    notes: list[str] = field(default_factory=list)

    @cached_property
    def title(self) -> str:
        return " ".join(self.groups) if len(self.runs) > 1 else self.path.resolve().name

    @cached_property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(_group(run) for run in self.runs))

    @cached_property
    def filter(self) -> str:
        """Which of the project's runs, in the words of wandb-workspaces: a sweep's by its group, others by their ids.

        The group of a run alone is its experiment, which others share.
        """
        if len(self.runs) == 1:
            return f"Metric('ID') == {_id(self.runs[0])!r}"
        if len(self.groups) == 1 and all(_of_sweep(run) for run in self.runs):
            return f"Metric('Group') == {self.groups[0]!r}"
        return f"Metric('ID') in {[_id(run) for run in self.runs]!r}"

    @cached_property
    def comparison(self) -> Comparison | None:
        """The runs as settings in the order of a score, or None with a note where that would be no comparison."""
        try:
            return Comparison(self.runs)
        except ValueError as error:
            self.notes.append(str(error))
            return None

    @cached_property
    def settings(self) -> list[str]:
        """The keys that tell the settings apart; all in which runs differ, where they are not compared."""
        if self.comparison and self.comparison.settings:
            return list(self.comparison.settings[0].labels)
        return list(differing(self.runs))

    @cached_property
    def scores(self) -> list[str]:
        """Names of final scores that are worth a chart, the one that chose the best checkpoints first."""
        names = dict.fromkeys(name for run in self.runs for name in (*run.finals, *run.curves) if is_headline(name))
        chosen = [run.selected_by for run in self.runs if run.selected_by]
        first = max(set(chosen), key=chosen.count) if chosen else None
        return sorted(names, key=lambda name: name != first)

    @cached_property
    def logged(self) -> list[str]:
        """Everything that the runs drew curves of."""
        return list(dict.fromkeys(key for run in self.runs for record in run.records for key in record))

    def under(self, *prefixes: str) -> list[str]:
        return [key for key in self.logged if key.startswith(prefixes)]

    @cached_property
    def command(self) -> str:
        """The command line that repeats it: a sweep's, where all combinations are there, or one a run."""
        jobs = [_overrides(run) for run in self.runs]
        if not all(jobs):
            return ""
        values = {key: list(dict.fromkeys(job[key] for job in jobs if key in job)) for job in jobs for key in job}
        alike = all(job.keys() == values.keys() for job in jobs)
        if alike and math.prod(map(len, values.values())) == len(jobs):
            jobs = [{key: ",".join(sorted(found, key=_by_number)) for key, found in values.items()}]
        flag = " -m" if len(self.runs) > len(jobs) else ""
        lines = [shlex.join(f"{key}={value}" for key, value in job.items()) for job in jobs]
        return str(redacted("\n".join(f"gan-lab train{flag} {line}" for line in lines)))


def _overrides(run: Run) -> dict[str, str]:
    """What the run was told on its command line, less where it lies."""
    try:
        words = yaml.safe_load((run.path / ".hydra" / "overrides.yaml").read_text())
    except (OSError, yaml.YAMLError):
        return {}
    pairs = (str(word).partition("=")[::2] for word in words or ())
    return {key: value for key, value in pairs if key not in ("run_dir", "sweep_dir")}


def _by_number(value: str) -> tuple[float, str]:
    try:
        return float(value), ""
    except ValueError:
        return math.inf, value


def _group(run: Run) -> str:
    """The group that the run has in W&B."""
    named = run.config.get("tracking.wandb.group") or run.config.get("sweep_name")
    sweep = run.path.resolve().parent.name if _of_sweep(run) else None
    return str(named or sweep or run.config.get("experiment"))


def _of_sweep(run: Run) -> bool:
    return (run.path.resolve().parent / "multirun.yaml").exists()


def _link(run: Run) -> str | None:
    link = run.summary.get("wandb")
    return link if isinstance(link, str) and link.startswith("http") else None


def _id(run: Run) -> str:
    link = _link(run)
    if link:
        return unquote(link.rstrip("/").rsplit("/", 1)[-1])
    return (run.path / "wandb" / "run_id").read_text().strip()


def subject(path: Path, entity: str | None = None, project: str | None = None) -> Subject:
    """What to show of a run or a folder of runs. Raises ValueError where it cannot be in W&B yet, with the remedy."""
    if not path.is_dir():
        raise ValueError(f"{path}: there is no such folder of a run or a sweep")
    runs = find([path])
    places = dict.fromkeys(tuple(unquote(urlparse(link).path).split("/")[1:3]) for run in runs if (link := _link(run)))
    if entity is None and not places:
        offline = any(run.summary.get("wandb") for run in runs)
        what = f"wandb sync {path}/{'' if path == runs[0].path else '*/'}wandb/offline-run-*"
        then = "then repeat this with --entity NAME"
        why = f"offline: {what}, {then}" if offline else "not in W&B: they ran with tracking.wandb.mode=disabled"
        raise ValueError(f"{path}: its runs are {why}")
    if len(places) > 1 and not (entity and project):
        told = ", ".join("/".join(place) for place in places)
        raise ValueError(f"{path}: its runs are in several projects of W&B ({told}); give --entity and --project")
    known = next(iter(places), (None, runs[0].config.get("tracking.wandb.project", "gan_lab")))
    return Subject(path, runs, str(entity or known[0]), str(project or known[1]))


def make(path: Path, entity: str | None = None, project: str | None = None) -> list[str]:
    """Save the workspace and the report. Returns their addresses.

    Raises ValueError without runs, without wandb-workspaces, without a key or an answer, and for what W&B refuses.
    """
    registry.load()  # which scores are worth a chart, those of plug-ins included
    shown = subject(path, entity, project)
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError as error:
        raise ValueError(MISSING) from error
    if trouble := no_way_online():
        raise ValueError(f"gan-lab dashboard: {trouble}")
    with contextlib.redirect_stderr(io.StringIO()):  # both tell of themselves what the caller prints
        try:
            view = _workspace(shown, workspaces, reports).save()
            report = _report(shown, reports).save()
            return [view.url, report.url]
        except Exception as error:
            raise ValueError(f"W&B did not take the dashboard of {shown.entity}/{shown.project}: {error}") from error


# -- panels ------------------------------------------------------------------------------------------------------------


def _config(key: str) -> str:
    """How W&B stores a setting whose key is dotted: see `gan_lab.tracking.wandb.columns`."""
    return f"{key}.value"


def _lines(wr: Any, keys: Iterable[str], **options: Any) -> list[Any]:
    return [wr.LinePlot(title=key, x=IMAGES, y=[key], **options) for key in keys]


def _sections(shown: Subject, wr: Any) -> dict[str, list[Any]]:
    """Panels by what they are about, the most telling first; a section without panels is left out."""
    losses = [key for key in shown.under("generator/", "discriminator/") if not key.endswith(("_logits", "_norm"))]
    accuracies = [key for key in losses if key.endswith("accuracy")]
    losses = [key for key in losses if key not in accuracies]
    curves = [key for key in shown.under(SELECTION) if is_headline(key.removeprefix(SELECTION))]
    together = [
        wr.LinePlot(title=f"{player} loss", x=IMAGES, y=[f"{player}/adversarial"])
        for player in ("discriminator", "generator")
        if f"{player}/adversarial" in losses
    ]
    apart = [key for key in losses if not key.endswith("/adversarial")]
    logits = [key for key in shown.under("discriminator/") if key.endswith("_logits")]
    sections = {
        "Scores while training": _lines(wr, curves),
        "Final scores": _finals(shown, wr),
        "Samples": [wr.MediaBrowser(title=name, media_keys=[name], num_columns=4) for name in PICTURES],
        "Losses": together + _lines(wr, apart),
        "Accuracies of the discriminator": _lines(wr, accuracies, range_y=(0, 1)),
        "Health": _lines(wr, shown.under("health/")),
        "Logits and gradients": _lines(wr, [*logits, *(key for key in shown.logged if key.endswith("gradient_norm"))]),
        "Speed and rates": _lines(wr, [*shown.under(SPEED), *shown.under("learning_rate/")]),
    }
    return {name: panels for name, panels in sections.items() if panels}


def _finals(shown: Subject, wr: Any) -> list[Any]:
    """A bar chart a score, and how the settings lead to the first of them."""
    if not shown.scores:
        return []
    short = short_names(dict.fromkeys(shown.scores))
    bars = [wr.BarPlot(title=short[name], metrics=[f"final/{name}"]) for name in shown.scores]
    return [_coordinates(shown, wr), *bars] if shown.settings else bars


def _coordinates(shown: Subject, wr: Any) -> Any:
    from wandb_workspaces.reports.v2.internal import Column

    class Setting(wr.ParallelCoordinatesPlotColumn):
        """A column of a setting. The package's own takes every dotted key for a nested one."""

        def _to_model(self) -> Any:
            return Column(accessor=f"config:{_config(self.metric.name)}", display_name=self.display_name)

    headline = shown.scores[0]
    columns = [Setting(metric=wr.Config(key), display_name=shorter(key)) for key in (*shown.settings, SEED)]
    score = wr.ParallelCoordinatesPlotColumn(
        metric=wr.SummaryMetric(f"final/{headline}"), display_name=short_names({headline: None})[headline]
    )
    return wr.ParallelCoordinatesPlot(title="settings to score", columns=[*columns, score])


# -- the two documents -------------------------------------------------------------------------------------------------


def _workspace(shown: Subject, ws: Any, wr: Any) -> Any:
    from wandb_workspaces import expr

    columns = [f"config:{_config(key)}" for key in (*shown.settings, SEED)]
    columns += [f"summary:final/{name}" for name in shown.scores]
    sections = _sections(shown, wr)
    return ws.Workspace(
        entity=shown.entity,
        project=shown.project,
        name=shown.title,
        sections=[
            ws.Section(name=name, panels=panels, is_open=place < 4)
            for place, (name, panels) in enumerate(sections.items())
        ],
        settings=ws.WorkspaceSettings(x_axis=IMAGES, max_runs=50),
        runset_settings=ws.RunsetSettings(
            filters=shown.filter,
            groupby=[expr.Config(_config(key)) for key in shown.settings],
            pinned_columns=["run:displayName", "run:state", *columns],
        ),
    )


def _report(shown: Subject, wr: Any) -> Any:
    def runs(name: str, *, grouped: bool) -> Any:
        keys = [f"config.{_config(key)}" for key in shown.settings] if grouped else []
        return wr.Runset(
            entity=shown.entity, project=shown.project, name=name, filters=shown.filter, groupby=keys,
            pinned_columns=[f"config:{_config(key)}" for key in (*shown.settings, SEED)],
        )  # fmt: skip

    blocks: list[Any] = [wr.MarkdownBlock(text=_told(shown))]
    for name, panels in _sections(shown, wr).items():
        single = name in ("Samples", "Final scores")  # pictures and coordinates of a mean would be none
        runset = runs("runs" if single else "settings", grouped=not single)
        blocks += [wr.H2(text=name), wr.PanelGrid(runsets=[runset], panels=panels)]
    return wr.Report(
        entity=shown.entity, project=shown.project, title=shown.title[:128], blocks=blocks, width="fluid",
        description=f"{len(shown.runs)} runs, by gan-lab dashboard",
    )  # fmt: skip


def _told(shown: Subject) -> str:
    """What differed and what came of it, as Markdown. Intervals and verdicts are those of gan-lab compare."""
    comparison = shown.comparison
    lines = [f"{len(shown.runs)} runs: " + ", ".join(_counted(run.status for run in shown.runs))]
    lines += [f"- `{key}`: {', '.join(map(str, values))}" for key, values in differing(shown.runs).items()]
    if comparison and comparison.metric:
        heads = [*(shorter(key) for key in shown.settings), " ".join(filter(None, comparison.metric))]
        lines += ["", *_row([*heads, "95 % interval", "runs", ""]), _rule(len(heads) + 3)]
        for setting in comparison.settings:
            interval = f"{setting.interval[0]:.4g} to {setting.interval[1]:.4g}" if setting.interval else ""
            mean = "" if setting.mean is None else f"{setting.mean:.4g}"
            values = [*(setting.labels.get(key) for key in shown.settings), mean, interval, len(setting.values)]
            lines += _row([*values, setting.verdict])
    failed = [run for run in shown.runs if run.error]
    # An exception's name, if that is how it begins: what else errors say is not ours to publish.
    kinds = {run: re.match(r"[A-Z]\w*(?=:)", str(run.error)) for run in failed}
    lines += ["", *(f"- {run.path.name} {run.status}{f': {kind[0]}' if kind else ''}" for run, kind in kinds.items())]
    lines += ["", *(f"- {note}" for note in (*shown.notes, *(comparison.notes if comparison else ())))]
    if shown.command:
        lines += ["", "To repeat it:", "", "```bash", shown.command, "```"]
    return str(redacted("\n".join(lines)))


def _counted(words: Iterable[str]) -> list[str]:
    from collections import Counter

    return [f"{number} {word}" for word, number in Counter(words).items()]


def _row(cells: Sequence[Any]) -> list[str]:
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"]


def _rule(width: int) -> str:
    return "|" + "---|" * width
