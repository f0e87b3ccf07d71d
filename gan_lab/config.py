"""The stable sections of the config, where everything lies, and how a config becomes known to Hydra."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gan_lab import registry
from gan_lab.registry import GROUPS, KINDS, NonNegative, Positive, Share
from gan_lab.sweep.choices import CHOICES

PACKAGE = Path(__file__).parent
# Beside the package in a checkout, inside it in a wheel.
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())
EXPERIMENTS = next(path for path in (PACKAGE / "experiments", PACKAGE.parent / "experiments") if path.is_dir())


@dataclass(frozen=True)
class Trainer:
    """How long, how fast and where. Durations and intervals are in images; an interval of 0 is never."""

    images: Positive = 100_000  # real images shown to D's main phase
    batch_size: Positive = 64  # global
    micro_batches: Positive = 1  # parts that the batch is computed in, to save memory
    seed: NonNegative = 0  # initialization, data order and all noise
    device: str = "auto"  # auto takes cuda, then mps, then cpu
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = True  # memory format of images and convolutions
    compile: bool = False  # torch.compile; phases with gradient penalties stay eager
    compile_mode: Literal["default", "max-autotune-no-cudagraphs"] = "default"  # how long torch.compile tries
    threads: Positive | None = None  # of the CPU; null: the machine's cores. Tiny networks are fastest with 1
    deterministic: bool = False  # deterministic algorithms: on CUDA, resuming is bit for bit only with it
    ema: Share = 0.0  # decay per step of the average used for samples and scores; 0 is none
    reuse_fakes: bool = False  # G's step trains on the fakes that D's step saw: faster, another algorithm
    lazy_correction: bool = False  # slower Adam for lazy regularizers' extra steps (Karras et al. 2020, appendix B)
    checkpoint_every: NonNegative = 20_000
    keep_checkpoints: Positive = 2
    profile: bool = False  # print where the time of steps 11 to 30 went, phase by phase
    rollbacks: NonNegative = 2  # times that a game without a finite gradient goes back, with half the learning rates


@dataclass(frozen=True)
class Evaluation:
    """Scores of samples: while training, to select a checkpoint, and at the end, with fresh noise."""

    every: NonNegative = 16_000  # images between two scores for selection; the best checkpoint is kept
    selection_samples: Positive = 5_000
    samples: Positive = 10_000  # at the end
    noise_seeds: Positive = 3  # at the end, distances are the mean over so many
    metrics: list[str] | None = None  # null: all that the data and their feature extractor offer
    select_by: str | None = None  # the metric that says which checkpoint is best; null: the first
    batch_norm: Literal["running", "batch"] = "running"  # statistics that pictures and scores are made with
    validation: NonNegative = 0  # training pictures that take the test split's place: choose recipes by those


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases. auto is online with a key and a reachable server, else offline."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "gan_lab"
    entity: str | None = None
    group: str | None = None  # null: the sweep, or the experiment
    tags: tuple[str, ...] = ()
    checkpoints: bool = False  # upload each as a model artifact, with the aliases latest and best


@dataclass(frozen=True)
class Tracking:
    """What is written while training, and how often, in images."""

    log_every: Positive = 2_000
    samples_every: NonNegative = 10_000
    samples: Positive = 64  # pictures in a grid
    health: bool = True  # warn of collapse, an overpowering or overfitting D, odd gradients, at each log point
    wandb: Wandb = Wandb()


SECTIONS: dict[str, type] = {"trainer": Trainer, "evaluation": Evaluation, "tracking": Tracking}
SCHEMAS = {name: registry.schema(section, f"section__{section.__name__}") for name, section in SECTIONS.items()}

RECIPES = ("experiment", "search")  # groups of the whole config: what to train, and which values to try

# What a config's hash leaves out: where a run lies, how it is watched, on what it runs, and how long.
# A search only chooses values that each of its jobs then says itself.
UNHASHED = ("run_dir", "sweep_dir", "sweep_name", "resume", "tracking", "hydra", "search")
UNHASHED_TRAINER = ("device", "images", "rollbacks", "profile")
# What runs did before a setting was added, whatever its default becomes: at that value it is left out, too.
ADDED: dict[str, dict[str, Any]] = {"evaluation": {"validation": 0}, "trainer": {"compile_mode": "default"}}


def config_hash(config: dict[str, Any]) -> str:
    """Sixteen hex digits of everything in a resolved config that decides what is trained."""
    kept = {name: value for name, value in config.items() if name not in (*UNHASHED, "experiment")}
    kept["trainer"] = {name: value for name, value in config["trainer"].items() if name not in UNHASHED_TRAINER}
    for section, settings in ADDED.items():
        kept[section] = {name: v for name, v in kept[section].items() if name not in settings or v != settings[name]}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config by dotted keys. Parts that are chosen as a list get one more key with their names, `r1+lecam`."""
    result: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            if prefix == "" and key == "regularizer":
                result[key] = "+".join(map(str, value)) or "none"
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = tuple(map(str, value)) if isinstance(value, list) else value
    return result


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """Names by keys, short enough for a table's head and not alike: `generator.learning_rate`, `seed`."""
    found = {key: ".".join(key.removeprefix("trainer.").split(".")[-2:]) for key in keys}
    times = Counter(found.values())
    return {key: label if times[label] == 1 else key for key, label in found.items()}


def without_hydra(composed: Any) -> Any:
    """A composed config less Hydra's own node: what a run is given."""
    from omegaconf import OmegaConf

    config = composed.copy()
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    OmegaConf.set_struct(config, True)
    return config


def publish() -> None:
    """Make parts, sections and experiments known to Hydra. Raises ValueError for an experiment that is not data."""
    from hydra.core.config_store import ConfigStore

    registry.publish()
    store = ConfigStore.instance()
    store.store(name="schema", node=SCHEMAS, provider="gan_lab.config")
    for group, name, node in CHOICES:
        store.store(group=group, name=name, node=node, provider="gan_lab.sweep.choices")
    for group in RECIPES:
        store.store(group=group, name="none", node={}, package="_global_", provider="gan_lab")
    for name, node in _shipped_experiments().items():
        store.store(group="experiment", name=name, node=node, package="_global_", provider="gan_lab")
    register_resolvers()


def register_resolvers() -> None:
    """What config.yaml's interpolations call. A sweep's worker processes need it, too."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("gan_lab.job", job_name, replace=True)


@functools.cache
def _shipped_experiments() -> dict[str, Any]:
    from omegaconf import OmegaConf

    paths = sorted(EXPERIMENTS.glob("*.yaml"))
    for path in paths:
        check_data(path)
    return {path.stem: OmegaConf.load(path) for path in paths}


def says_something_to_hydra(experiment: str) -> bool:
    """Whether an experiment may be a sweep, as far as that can be said without composing it."""
    known = _shipped_experiments() | {"none": {}}
    return "hydra" in known.get(experiment, {"hydra": None})


def job_name(overrides: Iterable[str]) -> str:
    """A sweep job's folder: a hash of its sorted overrides, less those that do not change what is trained."""
    kept = sorted(override for override in overrides if not unhashed(override.partition("=")[0].lstrip("+")))
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:12]


def unhashed(key: str) -> bool:
    """Whether a key says only where a run lies, how it is watched or on what it runs."""
    return re.split(r"[./]", key)[0] in UNHASHED or key in ("trainer.device", "trainer.profile")


def options(group: str, folders: Iterable[Path] = ()) -> list[str]:
    """Every name that a group takes: registered parts, experiments, and the presets of these folders and ours."""
    if group not in RECIPES:  # recipes are files: to list them imports no torch
        registry.load()
    names = set(GROUPS[group].classes) if group in GROUPS else set(KINDS[group].classes) if group in KINDS else {"none"}
    if group == "experiment":
        names |= {path.stem for path in EXPERIMENTS.glob("*.yaml")}
    for folder in (CONF, *folders):
        names |= {path.stem for path in (folder / group).glob("*.yaml")}
    return sorted(names)


def groups() -> list[str]:
    return [*RECIPES, *GROUPS]


# -- YAML is data ------------------------------------------------------------------------------------------------------

HYDRA_KEYS = ("mode", "sweeper", "launcher")  # what an experiment may say to Hydra


def check_data(path: Path) -> None:
    """Raise ValueError where a YAML could make Hydra import or call something, or cannot be read."""
    import yaml

    try:
        text = path.read_text()
        content = yaml.safe_load(text)
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    refuse_targets(content, str(path))
    if "_target_" in text:  # inside a string, say, that a resolver would decode
        refuse_targets({"_target_": None}, str(path))
    if re.search(r"^#\s*@package\s+hydra", text, flags=re.M):
        raise ValueError(f"{path}: a preset cannot be of the package hydra, which holds callbacks and folders")
    if isinstance(content, dict):
        keys = content.get("hydra")
        if keys is not None and not (isinstance(keys, dict) and set(keys) <= set(HYDRA_KEYS)):
            raise ValueError(f"{path}: under hydra, a file may set {', '.join(HYDRA_KEYS)} only")
        for default in _defaults(content):
            group = default.removeprefix("override").strip().lstrip("/")
            if group.startswith("hydra") and group.split("/")[-1] not in HYDRA_KEYS:
                raise ValueError(f"{path}: the defaults may choose hydra's sweeper and launcher only, not {group}")


def check_search(path: Path) -> None:
    """Raise ValueError where a search does more than to say what is swept over, by what and where.

    What else it set would train other jobs than the same words typed out, in the same folders.
    """
    import yaml

    text = path.read_text()
    content = yaml.safe_load(text) or {}
    if not re.search(r"^#\s*@package\s+_global_\s*$", text, flags=re.M):
        raise ValueError(f"{path}: a search begins with the line: # @package _global_")
    if not (isinstance(content, dict) and set(content) <= {"hydra", "defaults"}):
        raise ValueError(f"{path}: a search sets hydra's {', '.join(HYDRA_KEYS)}; the rest belongs to an experiment")
    for default in _defaults(content):
        if default.removeprefix("override").strip().lstrip("/") in (*GROUPS, "experiment"):
            raise ValueError(f"{path}: a search chooses no parts ({default}); they belong to an experiment")


def _defaults(content: dict[str, Any]) -> Iterator[str]:
    for default in content.get("defaults") or ():
        yield from map(str, default if isinstance(default, dict) else [default])


def refuse_targets(content: Any, where: str) -> None:
    """Raise ValueError for `_target_` anywhere: parts are chosen by their registered names."""
    if isinstance(content, dict):
        if "_target_" in content:
            raise ValueError(f"{where} holds _target_; parts are chosen by name (gan-lab list), no config imports code")
        for name, value in content.items():
            refuse_targets(value, f"{where}: {name}" if ": " not in where else f"{where}.{name}")
    elif isinstance(content, list):
        for value in content:
            refuse_targets(value, where)
