"""Search with Optuna: trials that learn from one another, and give up early what will not be good.

Optuna is asked for settings and told what became of them. Which study a job belongs to travels with it, so that it can
report while it trains, whatever launcher has started it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from gan_lab.config import job_name
from gan_lab.registry import unknown
from gan_lab.sweep import plan
from gan_lab.tracking.console import terminal
from gan_lab.tracking.run_directory import SELECTION, RunDirectory

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("tpe", "cmaes", "nsga2", "grid", "random")
PRUNERS = ("median", "halving", "none")
JOB = "job"  # of a trial: its job's folder
ABANDONED = "abandoned"  # of a trial whose process was gone: it is tried again, and does not count
SPACE = "space"  # of a study: what it searches
JOURNAL = "study.log"


@dataclass(frozen=True)
class Place:
    """Where a study is, and how its trials are pruned: all that a job in another process needs."""

    name: str
    storage: str
    score: str  # by which trials are pruned
    pruner: str = "none"
    startup_trials: int = 5

    def open(self, **more: Any) -> optuna.Study:
        """Load or, with directions, make it. Raises ValueError where the storage cannot be reached."""
        optuna = import_optuna()
        if "://" in self.storage:
            storage: Any = self.storage
        else:
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend

            Path(self.storage).parent.mkdir(parents=True, exist_ok=True)
            storage = JournalStorage(JournalFileBackend(self.storage))
        try:
            if "directions" in more:
                more["load_if_exists"] = True
                return optuna.create_study(study_name=self.name, storage=storage, pruner=self._pruner(), **more)
            return optuna.load_study(study_name=self.name, storage=storage, pruner=self._pruner(), **more)
        except ImportError as error:
            raise ValueError(f"hydra.sweeper.storage={self.storage} wants a package: {error}") from error
        except Exception as error:  # of whichever database
            why = " ".join(str(error).split())[:200]
            raise ValueError(
                f"hydra.sweeper.storage={self.storage} cannot be used ({type(error).__name__}: {why})"
            ) from error

    def _pruner(self) -> Any:
        pruners = import_optuna().pruners
        if self.pruner == "median":
            return pruners.MedianPruner(n_startup_trials=self.startup_trials)
        if self.pruner == "halving":
            return pruners.SuccessiveHalvingPruner()
        return pruners.NopPruner()

    def reporter(self, job: str) -> Callable[[int, Mapping[str, float | None]], str | None] | None:
        """For a job's folder: a function of images and scores by name that says why to give up, if it should."""
        if self.pruner == "none":
            return None
        optuna = import_optuna()
        study = self.open()
        running = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING])
        mine = next((t for t in running if t.user_attrs.get(JOB) == job), None)
        if mine is None or len(study.directions) > 1:  # Optuna prunes by one objective alone
            return None
        trial = optuna.trial.Trial(study, mine._trial_id)

        def report(images: int, scores: Mapping[str, float | None]) -> str | None:
            score = scores.get(self.score)
            trial.report(math.nan if score is None else score, images)
            return f"worse than others at {images:,} images" if trial.should_prune() else None

        return report


def import_optuna() -> Any:
    """Raises ValueError where it is not installed, with the extra."""
    try:
        import optuna
    except ImportError as error:
        raise ValueError('hydra/sweeper=optuna is not installed: pip install "hydra-gan-lab[sweep]"') from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


# -- what is searched --------------------------------------------------------------------------------------------------


def space(words: Sequence[Override]) -> dict[str, Any]:
    """Optuna's distributions by the keys that are swept. Raises ValueError where there is nothing to search."""
    found = {word.get_key_element(): distribution(word) for word in words if word.is_sweep_override()}
    if not found:
        raise ValueError(
            "hydra/sweeper=optuna searches nothing: give spaces, as in loss=hinge,minimax "
            "'optimizer.generator.learning_rate=tag(log,interval(1e-5,1e-2))' 'generator.width=int(interval(16,128))'"
        )
    return found


def distribution(word: Override) -> Any:
    """Hydra's choice, range or interval as Optuna's, with the tags log and int."""
    d = import_optuna().distributions
    value: Any = word.value()
    tags = set(getattr(value, "tags", None) or ())
    if strange := tags - {"log", "int"}:
        raise ValueError(f"{word.input_line}: the tags are log and int, not {', '.join(sorted(strange))}")
    try:
        if isinstance(value, IntervalSweep):
            low, high = value.start or 0, value.end or 0
            if "int" in tags or (isinstance(low, int) and isinstance(high, int)):
                return d.IntDistribution(int(low), int(high), log="log" in tags)
            return d.FloatDistribution(float(low), float(high), log="log" in tags)
        if isinstance(value, RangeSweep):
            values = [float(v) for v in value.range()]
            whole = all(isinstance(v, int) for v in (value.start, value.stop, value.step))
            kind = d.IntDistribution if whole or "int" in tags else d.FloatDistribution
            cast = int if kind is d.IntDistribution else float
            return kind(cast(values[0]), cast(values[-1]), step=cast(value.step))
    except (ValueError, IndexError) as error:
        raise ValueError(f"{word.input_line}: {error or 'an empty space'}") from error
    return d.CategoricalDistribution(list(word.sweep_string_iterator()))


@dataclass
class Search:
    """A study's plan, checked before anything is written."""

    words: list[Override]
    objectives: list[tuple[str, bool]]  # scores' names, and whether less is better
    conf: Any
    folder: Path
    space: dict[str, Any] = field(init=False)
    fixed: list[str] = field(init=False)

    def __post_init__(self) -> None:
        conf = self.conf
        if conf.sampler not in SAMPLERS:
            raise unknown("hydra.sweeper.sampler", conf.sampler, SAMPLERS)
        if conf.pruner not in PRUNERS:
            raise unknown("hydra.sweeper.pruner", conf.pruner, PRUNERS)
        if conf.n_trials < 1:
            raise ValueError(f"hydra.sweeper.n_trials={conf.n_trials}: give 1 at least")
        self.space = space(self.words)
        (self.fixed,) = plan.jobs([word for word in self.words if not word.is_sweep_override()])
        if len(self.objectives) > 1 and conf.sampler in ("cmaes",):
            raise ValueError(f"hydra.sweeper.sampler={conf.sampler} takes one objective; nsga2 and tpe take several")
        self.sampler()

    @property
    def place(self) -> Place:
        name = self.conf.study_name or self.folder.name
        storage = self.conf.storage or str(self.folder / JOURNAL)
        return Place(name, storage, self.objectives[0][0], self.conf.pruner, self.conf.startup_trials)

    @property
    def labels(self) -> dict[str, str]:
        return plan.short(self.space)

    def sampler(self) -> Any:
        samplers, seed, startup = import_optuna().samplers, self.conf.seed, self.conf.startup_trials
        if self.conf.sampler == "cmaes":
            try:
                import cmaes  # noqa: F401
            except ImportError as error:
                raise ValueError('hydra.sweeper.sampler=cmaes: pip install "hydra-gan-lab[sweep]"') from error
            return samplers.CmaEsSampler(seed=seed, n_startup_trials=startup)
        if self.conf.sampler == "nsga2":
            return samplers.NSGAIISampler(seed=seed)
        if self.conf.sampler == "grid":
            return samplers.GridSampler({key: _points(key, d) for key, d in self.space.items()}, seed=seed)
        if self.conf.sampler == "random":
            return samplers.RandomSampler(seed=seed)
        return samplers.TPESampler(seed=seed, n_startup_trials=startup, multivariate=True)

    def open(self) -> optuna.Study:
        """The study, made or gone on with. Raises ValueError for one of another space or other objectives."""
        directions = ["minimize" if lower else "maximize" for _, lower in self.objectives]
        about = json.dumps(
            {"objectives": self.objectives, "fixed": sorted(self.fixed)}
            | {"space": {key: str(d) for key, d in sorted(self.space.items())}}
        )
        study = self.place.open(directions=directions, sampler=self.sampler())
        known = study.user_attrs.get(SPACE)
        if (known is not None and known != about) or [d.name.lower() for d in study.directions] != directions:
            raise ValueError(
                f"the study {self.place.name} in {self.place.storage} searches something else; give another sweep_name "
                "or hydra.sweeper.study_name"
            )
        if known is None:
            study.set_user_attr(SPACE, about)
        return study

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        return [*self.fixed, *(f"{key}={params[key]}" for key in self.space)]


def _points(key: str, distribution: Any) -> list[Any]:
    if hasattr(distribution, "choices"):
        return list(distribution.choices)
    if distribution.step is None or distribution.log:
        raise ValueError(f"{key}: the grid sampler takes choices and ranges, no interval")
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    return [distribution.low + i * distribution.step for i in range(count)]


def objectives(config: DictConfig, words: Sequence[str]) -> list[tuple[str, bool]]:
    """The scores that are searched by, and whether less is better. Raises ValueError where there would be none."""
    from gan_lab.core.runtime import choose_device
    from gan_lab.train import build_evaluator, data_set, sections

    _, evaluation, _ = sections(config)
    if not evaluation.every:
        raise ValueError("hydra/sweeper=optuna needs scores while training, and evaluation.every=0")
    evaluator = build_evaluator(config, data_set(config), evaluation, choose_device("cpu"))
    chosen: list[str | None] = [*words] or [evaluation.select_by]
    found = [evaluator.selecting(word, evaluation.selection_samples) for word in chosen]
    if None in found:
        raise ValueError("hydra/sweeper=optuna needs a score, and evaluation.metrics offers none that has a direction")
    return [objective for objective in found if objective is not None]


# -- asking and telling ------------------------------------------------------------------------------------------------


class OptunaSweeper(Sweeper):
    """Asks for as many trials as run at a time, launches them, and tells what their folders hold.

    A trial whose process is gone before it was told is tried again when the study goes on.
    """

    search: ClassVar[Search | None] = None
    at_a_time: ClassVar[int] = 1

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        search = OptunaSweeper.search
        assert search is not None
        study = search.open()
        take_up(study)
        while (left := search.conf.n_trials - counted(study)) > 0:
            trials = [self._ask(study, search) for _ in range(min(left, self.at_a_time))]
            jobs = [search.overrides(trial.params) for trial in trials]
            fresh = self._fresh(study, trials, jobs)
            if fresh and self.launcher:
                self.launcher.launch([jobs[i] for i in fresh], initial_job_idx=trials[fresh[0]].number)
            for trial, job in zip(trials, jobs, strict=True):
                tell(study, trial, search.folder / job_name(job), search.objectives)

    def _ask(self, study: Any, search: Search) -> Any:
        trial = study.ask(search.space)
        trial.set_user_attr(JOB, job_name(search.overrides(trial.params)))
        return trial

    def _fresh(self, study: Any, trials: Sequence[Any], jobs: Sequence[Sequence[str]]) -> list[int]:
        """Which of the jobs are to run: not those that were told before, nor one twice at a time."""
        done = {t.user_attrs.get(JOB) for t in study.get_trials(deepcopy=False) if t.state.is_finished()}
        done -= {t.user_attrs.get(JOB) for t in study.get_trials(deepcopy=False) if t.user_attrs.get(ABANDONED)}
        names = [job_name(job) for job in jobs]
        folder = OptunaSweeper.search.folder if OptunaSweeper.search else Path()
        done |= {name for name in names if RunDirectory(folder / name).status() == "pruned"}
        return [i for i, name in enumerate(names) if name not in done and name not in names[:i]]


def take_up(study: Any) -> None:
    """Try again what a sweep that is gone had begun: its runs go on from their checkpoints."""
    optuna = import_optuna()
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study._storage.set_trial_user_attr(trial._trial_id, ABANDONED, True)
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)


def counted(study: Any) -> int:
    """Trials that were told, of those that n_trials means."""
    trials = study.get_trials(deepcopy=False)
    return sum(trial.state.is_finished() and not trial.user_attrs.get(ABANDONED) for trial in trials)


def tell(study: Any, trial: Any, folder: Path, objectives: Sequence[tuple[str, bool]]) -> None:
    """Tell what a job's folder holds: a value, that it was pruned or diverged, or that it failed."""
    states = import_optuna().trial.TrialState
    directory = RunDirectory(folder)
    status, values = directory.status(), scores(directory, objectives)
    if status == "finished" and values is not None:
        study.tell(trial, values)
    elif status in ("pruned", "diverged") and len(objectives) == 1:
        if status == "diverged":
            trial.report(math.inf if objectives[0][1] else -math.inf, int(directory.summary.get("images") or 0))
        study.tell(trial, state=states.PRUNED)
    else:
        study.tell(trial, state=states.FAIL)
    said = "  ".join(f"{value:.4g}" for value in values or ()) if status == "finished" else status
    terminal().print(f"trial {trial.number}: {said}", markup=False)


def scores(directory: RunDirectory, objectives: Sequence[tuple[str, bool]]) -> list[float] | None:
    """The best score of a run, or, of several objectives, the last ones that it has; None where one is missing."""
    records = directory.read_metrics()
    columns = [[r[SELECTION + name] for r in records if r.get(SELECTION + name) is not None] for name, _ in objectives]
    if not all(columns):
        return None
    if len(columns) == 1:
        return [min(columns[0]) if objectives[0][1] else max(columns[0])]
    return [column[-1] for column in columns]


@contextmanager
def searching(search: Search, at_a_time: int) -> Iterator[None]:
    """Let Hydra take our sweeper, which need not lie in a package of plug-ins."""
    Plugins.instance().class_name_to_class[search.conf["_target_"]] = OptunaSweeper
    OptunaSweeper.search, OptunaSweeper.at_a_time = search, at_a_time
    try:
        yield
    finally:
        OptunaSweeper.search = None


# -- what came out -----------------------------------------------------------------------------------------------------


def summary(search: Search) -> list[str]:
    """Lines for a person: how many trials, the best of them, and which settings matter."""
    optuna = import_optuna()
    study = search.open()
    trials = [trial for trial in study.get_trials() if not trial.user_attrs.get(ABANDONED)]
    count = {state: sum(trial.state.name == state for trial in trials) for state in ("COMPLETE", "PRUNED", "FAIL")}
    lines = [f"{len(trials)} trials: {count['COMPLETE']} finished, {count['PRUNED']} pruned, {count['FAIL']} failed"]
    if not count["COMPLETE"]:
        return lines
    names = " ".join(name.split("/")[0] for name, _ in search.objectives)
    for trial in study.best_trials[:5]:
        settings = " ".join(f"{search.labels[key]}={_short(value)}" for key, value in trial.params.items())
        values = " ".join(f"{value:.4g}" for value in trial.values)
        lines.append(f"best      {names} {values}  trial {trial.number}: {settings}")
    if len(search.objectives) == 1 and count["COMPLETE"] > 2 and len(search.space) > 1:
        try:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            weights = optuna.importance.get_param_importances(study, evaluator=evaluator)
        except (RuntimeError, ValueError, ImportError):  # all scores alike, say
            return lines
        lines.append("matters   " + "  ".join(f"{search.labels[key]} {share:.0%}" for key, share in weights.items()))
    return lines


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
