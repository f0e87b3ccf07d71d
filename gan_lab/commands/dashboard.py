"""`gan-lab dashboard`: a saved workspace and a report in W&B for a sweep or a run, made from its run directories."""

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
from gan_lab.comparing.comparison import Comparison
from gan_lab.comparing.runs import Run, differing_settings, find
from gan_lab.comparing.settings import shorter
from gan_lab.config.redaction import redacted
from gan_lab.metrics.base import is_headline, short_names
from gan_lab.tracking.run_directory import SELECTION, SPEED
from gan_lab.tracking.server import no_way_online

IMAGES = "images"  # the x axis of every chart
SEED = "trainer.seed"
PICTURES = ("samples", "neighbours")
MISSING = 'gan-lab dashboard needs wandb-workspaces: pip install "hydra-gan-lab[dashboard]"'


@dataclass
class Subject:
    """The runs of one W&B project that a dashboard shows, and what its panels need."""

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
        """A filter of the project's runs, in wandb-workspaces' syntax: a sweep's runs by their group, others by ids.

        The group of a single run is its experiment, which other runs may share.
        """
        if len(self.runs) == 1:
            return f"Metric('ID') == {_id(self.runs[0])!r}"
        if len(self.groups) == 1 and all(_of_sweep(run) for run in self.runs):
            return f"Metric('Group') == {self.groups[0]!r}"
        return f"Metric('ID') in {[_id(run) for run in self.runs]!r}"

    @cached_property
    def comparison(self) -> Comparison | None:
        """The comparison of the runs, or None, with a note, where their scores cannot be compared."""
        try:
            return Comparison(self.runs)
        except ValueError as error:
            self.notes.append(str(error))
            return None

    @cached_property
    def settings(self) -> list[str]:
        """The keys that distinguish the settings; without a comparison, all keys in which runs differ."""
        if self.comparison and self.comparison.settings:
            return list(self.comparison.settings[0].labels)
        return list(differing_settings(self.runs))

    @cached_property
    def scores(self) -> list[str]:
        """Names of headline scores, starting with the one that chose the best checkpoints."""
        names = dict.fromkeys(name for run in self.runs for name in (*run.finals, *run.curves) if is_headline(name))
        chosen = [run.selected_by for run in self.runs if run.selected_by]
        first = max(set(chosen), key=chosen.count) if chosen else None
        return sorted(names, key=lambda name: name != first)

    @cached_property
    def logged(self) -> list[str]:
        """The names of all values in the runs' records."""
        return list(dict.fromkeys(key for run in self.runs for record in run.records for key in record))

    def under(self, *prefixes: str) -> list[str]:
        return [key for key in self.logged if key.startswith(prefixes)]

    @cached_property
    def command(self) -> str:
        """The command that repeats the runs: one sweep where they are all combinations, else one command for each run.

        Empty where the overrides of a run are not known.
        """
        jobs = [_overrides(run) for run in self.runs]
        if not all(jobs):
            return ""
        values = {key: list(dict.fromkeys(job[key] for job in jobs if key in job)) for job in jobs for key in job}
        same_keys = all(job.keys() == values.keys() for job in jobs)
        if same_keys and math.prod(map(len, values.values())) == len(jobs):
            jobs = [{key: ",".join(sorted(choices, key=_by_number)) for key, choices in values.items()}]
        flag = " -m" if len(self.runs) > len(jobs) else ""
        lines = [shlex.join(f"{key}={value}" for key, value in job.items()) for job in jobs]
        return str(redacted("\n".join(f"gan-lab train{flag} {line}" for line in lines)))


def _overrides(run: Run) -> dict[str, str]:
    """The overrides of a run's command line, without its folder."""
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
    """The run's group in W&B."""
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
    """The subject of a run or a folder of runs. Raises ValueError, with the remedy, where the runs are not in W&B."""
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
        names = ", ".join("/".join(place) for place in places)
        raise ValueError(f"{path}: its runs are in several projects of W&B ({names}); give --entity and --project")
    known = next(iter(places), (None, runs[0].config.get("tracking.wandb.project", "gan_lab")))
    return Subject(path, runs, str(entity or known[0]), str(project or known[1]))


def make(path: Path, entity: str | None = None, project: str | None = None) -> list[str]:
    """Save the workspace and the report. Returns their addresses.

    Raises ValueError without runs, without wandb-workspaces, without a key or a reachable server, and for what W&B
    refuses.
    """
    registry.load()  # all measures, also those of plug-ins, to know the headline scores
    chosen = subject(path, entity, project)
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError as error:
        raise ValueError(MISSING) from error
    if reason := no_way_online():
        raise ValueError(f"gan-lab dashboard: {reason}")
    with contextlib.redirect_stderr(io.StringIO()):  # both print their addresses, which the caller prints, too
        try:
            view = _workspace(chosen, workspaces, reports).save()
            report = _report(chosen, reports).save()
            return [view.url, report.url]
        except Exception as error:
            raise ValueError(f"W&B did not take the dashboard of {chosen.entity}/{chosen.project}: {error}") from error


# -- panels ------------------------------------------------------------------------------------------------------------


def _config(key: str) -> str:
    """The path of a setting with a dotted key in W&B: see `gan_lab.tracking.wandb.columns`."""
    return f"{key}.value"


def _lines(wr: Any, keys: Iterable[str], **options: Any) -> list[Any]:
    return [wr.LinePlot(title=key, x=IMAGES, y=[key], **options) for key in keys]


def _sections(subject: Subject, wr: Any) -> dict[str, list[Any]]:
    """Panels by section, the most important ones first. A section without panels is left out."""
    losses = [key for key in subject.under("generator/", "discriminator/") if not key.endswith(("_logits", "_norm"))]
    accuracies = [key for key in losses if key.endswith("accuracy")]
    losses = [key for key in losses if key not in accuracies]
    curves = [key for key in subject.under(SELECTION) if is_headline(key.removeprefix(SELECTION))]
    adversarial = [
        wr.LinePlot(title=f"{player} loss", x=IMAGES, y=[f"{player}/adversarial"])
        for player in ("discriminator", "generator")
        if f"{player}/adversarial" in losses
    ]
    others = [key for key in losses if not key.endswith("/adversarial")]
    logits = [key for key in subject.under("discriminator/") if key.endswith("_logits")]
    sections = {
        "Scores while training": _lines(wr, curves),
        "Final scores": _finals(subject, wr),
        "Samples": [wr.MediaBrowser(title=name, media_keys=[name], num_columns=4) for name in PICTURES],
        "Losses": adversarial + _lines(wr, others),
        "Accuracies of the discriminator": _lines(wr, accuracies, range_y=(0, 1)),
        "Health": _lines(wr, subject.under("health/")),
        "Logits and gradients": _lines(
            wr, [*logits, *(key for key in subject.logged if key.endswith("gradient_norm"))]
        ),
        "Speed and rates": _lines(wr, [*subject.under(SPEED), *subject.under("learning_rate/")]),
    }
    return {name: panels for name, panels in sections.items() if panels}


def _finals(subject: Subject, wr: Any) -> list[Any]:
    """A bar chart for each score, and parallel coordinates from the settings to the first score."""
    if not subject.scores:
        return []
    short = short_names(dict.fromkeys(subject.scores))
    bars = [wr.BarPlot(title=short[name], metrics=[f"final/{name}"]) for name in subject.scores]
    return [_coordinates(subject, wr), *bars] if subject.settings else bars


def _coordinates(subject: Subject, wr: Any) -> Any:
    from wandb_workspaces.reports.v2.internal import Column

    class SettingColumn(wr.ParallelCoordinatesPlotColumn):
        """A column of a setting. The package's own column treats a dotted key as a nested one."""

        def _to_model(self) -> Any:
            return Column(accessor=f"config:{_config(self.metric.name)}", display_name=self.display_name)

    headline = subject.scores[0]
    columns = [SettingColumn(metric=wr.Config(key), display_name=shorter(key)) for key in (*subject.settings, SEED)]
    score = wr.ParallelCoordinatesPlotColumn(
        metric=wr.SummaryMetric(f"final/{headline}"), display_name=short_names({headline: None})[headline]
    )
    return wr.ParallelCoordinatesPlot(title="settings to score", columns=[*columns, score])


# -- the two documents -------------------------------------------------------------------------------------------------


def _workspace(subject: Subject, ws: Any, wr: Any) -> Any:
    from wandb_workspaces import expr

    columns = [f"config:{_config(key)}" for key in (*subject.settings, SEED)]
    columns += [f"summary:final/{name}" for name in subject.scores]
    sections = _sections(subject, wr)
    return ws.Workspace(
        entity=subject.entity,
        project=subject.project,
        name=subject.title,
        sections=[
            ws.Section(name=name, panels=panels, is_open=place < 4)
            for place, (name, panels) in enumerate(sections.items())
        ],
        settings=ws.WorkspaceSettings(x_axis=IMAGES, max_runs=50),
        runset_settings=ws.RunsetSettings(
            filters=subject.filter,
            groupby=[expr.Config(_config(key)) for key in subject.settings],
            pinned_columns=["run:displayName", "run:state", *columns],
        ),
    )


def _report(subject: Subject, wr: Any) -> Any:
    def runs(name: str, *, grouped: bool) -> Any:
        keys = [f"config.{_config(key)}" for key in subject.settings] if grouped else []
        return wr.Runset(
            entity=subject.entity, project=subject.project, name=name, filters=subject.filter, groupby=keys,
            pinned_columns=[f"config:{_config(key)}" for key in (*subject.settings, SEED)],
        )  # fmt: skip

    blocks: list[Any] = [wr.MarkdownBlock(text=_summary(subject))]
    for name, panels in _sections(subject, wr).items():
        single = name in ("Samples", "Final scores")  # a mean over seeds has no pictures and no coordinates
        runset = runs("runs" if single else "settings", grouped=not single)
        blocks += [wr.H2(text=name), wr.PanelGrid(runsets=[runset], panels=panels)]
    return wr.Report(
        entity=subject.entity, project=subject.project, title=subject.title[:128], blocks=blocks, width="fluid",
        description=f"{len(subject.runs)} runs, by gan-lab dashboard",
    )  # fmt: skip


def _summary(subject: Subject) -> str:
    """The settings that differ and the ranking, as Markdown. Intervals and verdicts are those of gan-lab compare."""
    comparison = subject.comparison
    lines = [f"{len(subject.runs)} runs: " + ", ".join(_counted(run.status for run in subject.runs))]
    lines += [f"- `{key}`: {', '.join(map(str, values))}" for key, values in differing_settings(subject.runs).items()]
    if comparison and comparison.metric:
        heads = [*(shorter(key) for key in subject.settings), " ".join(filter(None, comparison.metric))]
        lines += ["", *_row([*heads, "95 % interval", "runs", ""]), _rule(len(heads) + 3)]
        for setting in comparison.settings:
            interval = f"{setting.interval[0]:.4g} to {setting.interval[1]:.4g}" if setting.interval else ""
            mean = "" if setting.mean is None else f"{setting.mean:.4g}"
            values = [*(setting.labels.get(key) for key in subject.settings), mean, interval, len(setting.values)]
            lines += _row([*values, setting.verdict])
    failed = [run for run in subject.runs if run.error]
    # Of an error, only the exception's name: the rest of the message may be private.
    kinds = {run: re.match(r"[A-Z]\w*(?=:)", str(run.error)) for run in failed}
    lines += ["", *(f"- {run.path.name} {run.status}{f': {kind[0]}' if kind else ''}" for run, kind in kinds.items())]
    lines += ["", *(f"- {note}" for note in (*subject.notes, *(comparison.notes if comparison else ())))]
    if subject.command:
        lines += ["", "To repeat it:", "", "```bash", subject.command, "```"]
    return str(redacted("\n".join(lines)))


def _counted(words: Iterable[str]) -> list[str]:
    from collections import Counter

    return [f"{number} {word}" for word, number in Counter(words).items()]


def _row(cells: Sequence[Any]) -> list[str]:
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"]


def _rule(width: int) -> str:
    return "|" + "---|" * width
