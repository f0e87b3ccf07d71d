"""A search with Optuna, checked before it begins, and the location of its study, to which jobs report scores."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from gan_lab.config.identity import short_keys
from gan_lab.core.files import parse_json, read_text
from gan_lab.registry import unknown
from gan_lab.sweeping import plan
from gan_lab.sweeping.space import import_optuna, points, space

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("tpe", "cmaes", "nsga2", "grid", "random")
PRUNERS = ("median", "halving", "none")
JOB = "job"  # trial attribute: the folder of its job
ABANDONED = "abandoned"  # trial attribute: its process was gone; it is tried again, and does not count
SPACE = "space"  # study attribute: what it searches
JOURNAL = "study.log"


@dataclass(frozen=True)
class StudyLocation:
    """The location of a study, and how its trials are pruned: all that a job in another process needs."""

    name: str
    storage: str
    score: str  # by which trials are pruned
    pruner: str = "none"
    startup_trials: int = 0
    warmup: int = 0  # images before which nothing is pruned

    def open(self, directions: Sequence[str] = (), sampler: Any = None) -> optuna.Study:
        """Load the study or, with directions, create it. Raises ValueError where the storage cannot be used."""
        optuna = import_optuna()
        try:
            about = {"study_name": self.name, "storage": self._storage(), "pruner": self._pruner(), "sampler": sampler}
            with contextlib.suppress(KeyError):  # raised where there is no such study
                return optuna.load_study(**about)
            return optuna.create_study(**about, directions=directions or None)
        except ImportError as error:
            raise ValueError(f"hydra.sweeper.storage={self.storage} wants a package: {error}") from error
        except Exception as error:  # each database raises its own errors
            why = " ".join(str(error).split())[:200]
            raise ValueError(
                f"hydra.sweeper.storage={self.storage} cannot be used ({type(error).__name__}: {why})"
            ) from error

    def _storage(self) -> Any:
        """A database's address as it is, or a journal, whose lines are read at once."""
        if "://" in self.storage:
            return self.storage
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        journal = Path(self.storage)
        journal.parent.mkdir(parents=True, exist_ok=True)
        if journal.exists():  # Optuna would write behind a line that it cannot read, and fail then
            for number, line in enumerate(read_text(journal).splitlines(keepends=True), start=1):
                if line.endswith("\n"):  # the last line may be half-written
                    parse_json(line, f"line {number}")
        return JournalStorage(JournalFileBackend(self.storage))

    def _pruner(self) -> Any:
        pruners = import_optuna().pruners
        if self.pruner == "median":
            return pruners.MedianPruner(n_startup_trials=self.startup_trials, n_warmup_steps=self.warmup)
        if self.pruner == "halving":
            return pruners.SuccessiveHalvingPruner(min_resource=max(self.warmup, 1), reduction_factor=2)
        return pruners.NopPruner()

    def reporter(self, job: str) -> Callable[[int, Mapping[str, float | None]], str | None] | None:
        """A function for a job to report scores: (images, scores by name) -> a reason to prune the trial, or None.

        None where the study does not prune, or has no running trial of this job's folder.
        """
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
            with warnings.catch_warnings():  # a collapsed run has no numbers
                warnings.filterwarnings("ignore", "All-NaN slice")
                return f"worse than others at {images:,} images" if trial.should_prune() else None

        return report


@dataclass
class Search:
    """The settings of a search, checked before anything is written."""

    words: list[Override]
    objectives: list[tuple[str, bool]]  # names of scores, and whether less is better
    conf: Any
    folder: Path
    images: int  # trainer.images of each trial
    space: dict[str, Any] = field(init=False)
    fixed: list[str] = field(init=False)

    def __post_init__(self) -> None:
        conf = self.conf
        if conf.sampler not in SAMPLERS:
            raise unknown("hydra.sweeper.sampler", conf.sampler, SAMPLERS)
        if conf.pruner not in PRUNERS:
            raise unknown("hydra.sweeper.pruner", conf.pruner, PRUNERS)
        if not 0 <= conf.warmup <= 1:
            raise ValueError(f"hydra.sweeper.warmup={conf.warmup}: give a share of trainer.images, 0 to 1")
        if conf.n_trials < 1:
            raise ValueError(f"hydra.sweeper.n_trials={conf.n_trials}: give 1 at least")
        self.space = space(self.words)
        (self.fixed,) = plan.jobs([word for word in self.words if not word.is_sweep_override()])
        if len(self.objectives) > 1 and conf.sampler in ("cmaes",):
            raise ValueError(f"hydra.sweeper.sampler={conf.sampler} takes one objective; nsga2 and tpe take several")
        self.sampler()
        _ = self.total

    @property
    def location(self) -> StudyLocation:
        name = self.conf.study_name or self.folder.name
        storage = self.conf.storage or str(self.folder / JOURNAL)
        if "://" not in storage:
            storage = str(Path(storage).absolute())  # jobs may have another working directory
        warmup = int(self.conf.warmup * self.images)
        return StudyLocation(name, storage, self.objectives[0][0], self.conf.pruner, self.conf.startup_trials, warmup)

    @property
    def total(self) -> int:
        """The number of trials: n_trials, but for a grid at most its number of points."""
        return min(self.conf.n_trials, len(self.grid)) if self.conf.sampler == "grid" else int(self.conf.n_trials)

    @property
    def labels(self) -> dict[str, str]:
        return short_keys(self.space)

    def sampler(self) -> Any:
        samplers, seed, startup = import_optuna().samplers, self.conf.seed, self.conf.startup_trials
        if self.conf.sampler == "cmaes":
            if self.conf.storage:  # this sampler keeps its state as a pickle in the study, and a pickle can run code
                raise ValueError(
                    f"hydra.sweeper.storage={self.conf.storage}: with sampler=cmaes the study stays in the sweep's own "
                    "folder; leave the storage out, or take sampler=tpe"
                )
            try:
                import cmaes  # noqa: F401
            except ImportError as error:
                raise ValueError('hydra.sweeper.sampler=cmaes: pip install "hydra-gan-lab[sweep]"') from error
            return samplers.CmaEsSampler(seed=seed, n_startup_trials=startup)
        if self.conf.sampler == "nsga2":
            return samplers.NSGAIISampler(seed=seed)
        if self.conf.sampler in ("random", "grid"):  # Optuna's own grid sampler needs study.optimize()
            return samplers.RandomSampler(seed=seed)
        return samplers.TPESampler(seed=seed, n_startup_trials=startup, multivariate=True)

    def open(self) -> optuna.Study:
        """Create or continue the study. Raises ValueError for a study with another space or other objectives."""
        directions = ["minimize" if lower else "maximize" for _, lower in self.objectives]
        about = json.dumps(
            {"objectives": self.objectives, "fixed": sorted(self.fixed)}
            | {"space": {key: str(d) for key, d in sorted(self.space.items())}}
        )
        study = self.location.open(directions, self.sampler())
        known = study.user_attrs.get(SPACE)
        if (known is not None and known != about) or [d.name.lower() for d in study.directions] != directions:
            raise ValueError(
                f"the study {self.location.name} in {self.location.storage} searches something else; give "
                "another sweep_name or hydra.sweeper.study_name"
            )
        if known is None:
            for point in self.grid if self.conf.sampler == "grid" else ():
                study.enqueue_trial(point)
            study.set_user_attr(SPACE, about)
        return study

    @property
    def grid(self) -> list[dict[str, Any]]:
        """Every combination of the values. Raises ValueError for an interval."""
        values = [points(key, d) for key, d in self.space.items()]
        return [dict(zip(self.space, combination, strict=True)) for combination in itertools.product(*values)]

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        return [*self.fixed, *(f"{key}={params[key]}" for key in self.space)]


def objectives(config: DictConfig, words: Sequence[str]) -> list[tuple[str, bool]]:
    """The scores that the search optimizes, and whether less is better. Raises ValueError where there is none."""
    from gan_lab.config.sections import sections
    from gan_lab.core.runtime import choose_device
    from gan_lab.run.assembly import build_evaluator, data_set

    _, evaluation, _ = sections(config)
    if not evaluation.every:
        raise ValueError("hydra/sweeper=optuna needs scores while training, and evaluation.every=0")
    evaluator = build_evaluator(config, data_set(config), evaluation, choose_device("cpu"))
    chosen: list[str | None] = [*words] or [evaluation.select_by]
    result = [evaluator.selecting(word, evaluation.selection_samples) for word in chosen]
    if None in result:
        raise ValueError("hydra/sweeper=optuna needs a score, and evaluation.metrics offers none that has a direction")
    return [objective for objective in result if objective is not None]
