"""Checks the command line's overrides before Hydra gets them, because Hydra writes folders before our code runs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, RangeSweep
from omegaconf import OmegaConf

from gan_lab.config.identity import unhashed
from gan_lab.config.presets import check_data, check_search, groups, options, preset_files
from gan_lab.registry import GROUPS, nearest, optional_groups, player_groups, unknown

ALWAYS_SECRET = {"secret", "password", "passwd", "credential", "credentials"}
SECRET_AT_THE_END = {"key", "apikey", "token"}  # `api_key`; but `key_dim` and `token_size` are fine
HYDRA = ("mode", "sweeper", "launcher", "verbose")  # settings of Hydra that users may set; others set folders and code
FLAGS_WITH_VALUE = ("--config-dir", "-cd", "--cfg", "-c", "--package", "-p")
FLAGS = (
    "--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--resolve", "--package", "-p", "--run", "-r",
    "--multirun", "-m", "--info", "-i", "--config-dir", "-cd",
)  # fmt: skip
CONFIGS, INFOS = ("job", "hydra", "all"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
SHOWN = {"--cfg": CONFIGS, "-c": CONFIGS, "--info": INFOS, "-i": INFOS}
EXCLUSIVE = (("--run", "-r"), ("--multirun", "-m"), ("--cfg", "-c"), ("--info", "-i"))  # Hydra does one of them
PASSIVE_FLAGS = ("--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--version")


@dataclass
class Arguments:
    """The arguments of `gan-lab train`: Hydra's flags, overrides, and folders with the user's own presets."""

    flags: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)

    @property
    def multirun(self) -> bool:
        return any(flag in ("-m", "--multirun") for flag in self.flags)

    @property
    def passive(self) -> bool:
        """Whether Hydra only prints something and starts no run."""
        return any(flag.partition("=")[0] in PASSIVE_FLAGS for flag in self.flags)

    @property
    def asks_for_help(self) -> bool:
        return any(flag in ("--help", "-h") for flag in self.flags)

    @property
    def all_overrides(self) -> list[str]:
        """The overrides, with the preset folders as Hydra's search path."""
        folders = ",".join(f"'file://{folder.absolute()}'" for folder in self.folders)
        return [*self.overrides, *([f"hydra.searchpath=[{folders}]"] if folders else [])]


def parse(argv: Sequence[str]) -> Arguments:
    """Split the arguments and check them. Raises ValueError with the remedy for everything that cannot work."""
    arguments = Arguments()
    words = iter(argv)
    for word in words:
        name, _, value = word.partition("=")
        if not value and name in (*FLAGS_WITH_VALUE, "--info", "-i"):
            # Without a value of its own, --info would take the next word.
            value = next(words, "") if name in FLAGS_WITH_VALUE else "all"
            if value.startswith("-"):
                raise ValueError(f"{name}: it wants a value, and {value} is another flag")
            word = f"{name}={value}"
        if name in ("--config-name", "-cn", "--config-path", "-cp"):
            raise ValueError(f"{name}: gan-lab has one config; your own presets go into a folder, --config-dir DIR")
        if name in ("--config-dir", "-cd"):
            arguments.folders.append(_preset_folder(value))
        elif name == "hydra.searchpath":
            arguments.folders += [_preset_folder(p.removeprefix("file://")) for p in re.findall(r"[^\[\],'\"]+", value)]
        elif word.startswith("-"):
            _check_flag(name, value)
            # Hydra takes "--cfg=job" as one word, but "-c job" as two.
            arguments.flags += [word] if name.startswith("--") else [name, value] if value else [word]
        else:
            arguments.overrides.append(_long_form(word))
    _check_together(arguments)
    for override in arguments.overrides:
        if "@" in override.partition("=")[0]:
            raise ValueError(f"{override}: @ would put a part where it does not belong; write it without")
        _check(override, arguments.folders)
    # Optimizer groups of further players are not in config.yaml's defaults list, so Hydra needs the prefix "+".
    added = tuple(f"{group}=" for group in player_groups())
    arguments.overrides = [f"+{word}" if word.startswith(added) else word for word in arguments.overrides]
    return arguments


def _check_flag(name: str, value: str) -> None:
    if name not in FLAGS:
        raise ValueError(f"{name}: there is no such flag. {nearest(name, FLAGS)}")
    if name in SHOWN and value not in SHOWN[name]:
        raise unknown(name, value, SHOWN[name])


def _check_together(arguments: Arguments) -> None:
    """Raise ValueError for flags that Hydra would refuse after the run's folder is there."""
    given = {flag.partition("=")[0] for flag in arguments.flags}
    chosen = [names[0] for names in EXCLUSIVE if given & set(names)]
    if len(chosen) > 1:
        raise ValueError(f"{' and '.join(chosen)}: give only one of them")
    if not arguments.passive and (alone := given & {"--resolve", "--package", "-p"}):
        raise ValueError(f"{min(alone)}: it goes with --cfg job")


def check_shown(arguments: Arguments, config: Any) -> None:
    """Raise ValueError for what --cfg cannot show of a composed config."""
    flags = dict(zip(arguments.flags, [*arguments.flags[1:], ""], strict=True))  # `-p name` is two words
    flags |= {name: value for name, _, value in (flag.partition("=") for flag in arguments.flags) if value}
    shown = flags.get("--cfg", flags.get("-c"))
    if "--resolve" in flags and shown in ("hydra", "all"):
        raise ValueError(f"--resolve: of --cfg {shown} not all values are known before a run; take --cfg job")
    package = flags.get("--package", flags.get("-p"))
    if package is not None and (shown != "job" or OmegaConf.select(config, package, default=None) is None):
        raise ValueError(f"--package {package}: it goes with --cfg job, and is one of {', '.join(map(str, config))}")


def _preset_folder(value: str) -> Path:
    """A folder of YAML presets, `<group>/<name>.yaml`.

    Raises ValueError for a preset that is not plain data, or whose name is taken.
    """
    folder = Path(value)
    if not value or not folder.is_dir():
        raise ValueError(f"--config-dir {value}: there is no such folder")
    for path in preset_files(folder):
        check_data(path)
        group = path.parent.relative_to(folder).as_posix()
        if group == "search":
            check_search(path)
        if group in groups() and path.stem in options(group):
            raise ValueError(f"{path}: {group}={path.stem} is taken; give the preset a name of its own")
    return folder


def _long_form(override: str) -> str:
    """`optimizer.generator=sgd` is short for the group's own spelling, `optimizer/generator=sgd`."""
    key, equals, value = override.partition("=")
    group = key.replace(".", "/")
    return f"{group}{equals}{value}" if equals and "/" in group and group in GROUPS else override


def _check(override: str, folders: Sequence[Path]) -> None:
    key, equals, value = override.partition("=")
    plain = key.lstrip("+~").partition("@")[0]
    parts = re.split(r"[./]", plain)
    homes = {group.split("/")[0] for group in groups()}
    if "_target_" in override:
        raise ValueError(f"{override}: parts are chosen by name (gan-lab list); no config may hold _target_")
    if not (plain and (equals or key.startswith("~"))):
        raise ValueError(f"{override}: expected key=value, as in generator=dcgan; see gan-lab train --help")
    if any(_is_secret(name) for name in (parts[-1], *re.findall(r"oc\.env:\s*(\w+)", value))):
        raise ValueError(
            f"{key}=...: this looks like a secret, and overrides are written to disk; pass it in the environment "
            "(W&B reads WANDB_API_KEY, or run `wandb login`)"
        )
    if parts[0] == "hydra":
        _check_hydras_own(override, key, parts)
    elif key[0] in "+~":
        raise ValueError(f"{override}: {key[0]} would slip past the checks of {parts[0]}; write it without")
    if plain in groups():
        _check_choice(plain, value, folders)
    elif equals and plain.startswith("optimizer/"):
        raise unknown(plain, parts[-1], [group.split("/")[1] for group in groups() if "optimizer/" in group])
    elif plain in homes:
        inner = ", ".join(f"{group}=..." for group in groups() if group.startswith(f"{plain}/"))
        raise ValueError(f"{override}: a value stands where parts belong; choose {inner}")
    elif parts[-1] == "name" and (group := "/".join(parts[:-1])) in groups():
        raise ValueError(f"{override}: a part is chosen as a whole, {group}={value}")


def _check_hydras_own(override: str, key: str, parts: list[str]) -> None:
    name = parts[1] if len(parts) > 1 else ""
    if name not in HYDRA:
        raise ValueError(
            f"{key}: of Hydra's own settings these are taken: hydra.{', hydra.'.join(HYDRA)}; "
            "where runs lie is run_dir=... or sweep_dir=..."
        )
    if key[0] == "~":
        raise ValueError(f"{override}: Hydra needs a {name}; choose another one")
    if name in ("sweeper", "launcher") and len(parts) == 2 and "/" not in key:
        raise ValueError(f"{override}: a {name} is chosen as a whole: hydra/{name}=...")
    if parts[1:3] == ["sweeper", "params"]:
        raise ValueError(f"{override}: what is swept is said in words, as in trainer.seed=1,2,3")


def _is_secret(name: str) -> bool:
    words = re.split(r"[_-]", name.lower())
    return words[-1] in SECRET_AT_THE_END or not ALWAYS_SECRET.isdisjoint(words)


def _check_choice(group: str, value: str, folders: Iterable[Path]) -> None:
    if value == "null" and group in optional_groups():
        return
    known = options(group, folders)
    listed = group in GROUPS and GROUPS[group].listed
    for choice in _split(value):
        inner = choice.strip()
        if inner.startswith("["):
            if not listed:
                raise ValueError(f"{group}={value}: it takes one name, or several without brackets to sweep over")
            names = [name.strip() for name in inner.strip("[]").split(",") if name.strip()]
        elif listed and inner == "null":
            raise ValueError(f"{group}={value}: it takes a list; for none, {group}=[]")
        elif listed:
            example = f"'{group}=[{inner}]', swept as '{group}=[],[{inner}]'"
            raise ValueError(f"{group}={value}: it takes a list, as in {example}")
        else:
            names = [inner]
        for name in names:
            if name.strip("'\"") not in known:
                raise unknown(group, name, known)


def _split(value: str) -> list[str]:
    """The values of a sweep, `a,b` or `choice(a,b)`. Commas inside brackets do not separate values."""
    inside = re.fullmatch(r"choice\((.*)\)", value.strip())
    return re.findall(r"\[[^\]]*\]|[^,]+", inside[1] if inside else value) or [""]


def check_params(params: Mapping[str, Any], where: str, folders: Iterable[Path]) -> list[str]:
    """The sweep of a preset as words of a command line. Raises ValueError for a word that train would refuse."""
    words = [f"{key}={value}" for key, value in params.items()]
    for word in words:
        try:
            if _long_form(word) != word:
                raise ValueError(f"{word}: write {_long_form(word)}")
            _check(word, list(folders))
        except ValueError as error:
            raise ValueError(f"{where} sweeps over {error}") from error
    return words


def check_sweep(words: Iterable[Override]) -> None:
    """Raise ValueError where a sweep varies a setting that does not change what is trained."""
    for word in words:
        key = word.key_or_group
        if not word.is_sweep_override():
            continue
        if key == "search":
            raise ValueError(f"{word.input_line}: one search at a time; what it sweeps over is in its file")
        if key.startswith("hydra"):
            raise ValueError(f"{word.input_line}: Hydra's own settings are the same for all jobs and cannot be swept")
        if unhashed(key):
            raise ValueError(
                f"{word.input_line}: all values would train the same and share one folder; sweep something else"
            )


MOST_JOBS = 10_000  # of one sweep


def check_number(words: Iterable[Override]) -> None:
    """Raise ValueError for a sweep of too many jobs, or of none, before its values are written out."""
    jobs = 1
    for word in words:
        if word.is_sweep_override() and word.is_discrete_sweep():
            jobs *= (number := _number_of_values(word))
            if not number:
                raise ValueError(f"{word.input_line}: there is no value in this range")
        if jobs > MOST_JOBS:
            raise ValueError(
                f"{word.input_line}: that makes more than {MOST_JOBS:,} jobs; give fewer values, or search among them: "
                "hydra/sweeper=optuna"
            )


def _number_of_values(word: Override) -> int:
    value: Any = word.value()
    if isinstance(value, Glob):
        raise ValueError(f"{word.input_line}: glob() is not taken; name the values, as in a,b")
    if isinstance(value, RangeSweep):
        length = (float(value.stop or 0) - float(value.start or 0)) / (float(value.step) or math.nan)
        return max(math.ceil(length), 0) if math.isfinite(length) else MOST_JOBS + 1
    if isinstance(value, ChoiceSweep):
        return len(value.list)
    return 1
