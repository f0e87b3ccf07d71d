"""How presets, experiments and the command line make one config, and what that config's names and hashes stand for."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from gan_lab.cli import main
from gan_lab.commands.train import parse_command
from gan_lab.config import hydra_store, identity, presets, sections
from gan_lab.config.composition import check_parts
from gan_lab.config.identity import resolved
from gan_lab.config.overrides import parse
from gan_lab.registry import GROUPS, KINDS, load, player_groups

EXPERIMENTS = sorted(path.stem for path in presets.EXPERIMENTS.glob("*.yaml"))
PARTS = "experiment=none generator=mlp discriminator=mlp dataset=mixture"
TINY = (
    f"{PARTS} generator.width=8 generator.depth=1 discriminator.width=8 discriminator.depth=1 trainer.images=8 "
    "trainer.batch_size=8 dataset.samples=64 evaluation.samples=8 trainer.device=cpu"
).split()


@pytest.fixture(scope="module", autouse=True)
def published() -> None:
    hydra_store.publish()


def compose(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(presets.CONF), version_base="1.3"):
        return hydra.compose("config", list(overrides))


def stems(group: str) -> set[str]:
    return {path.stem for path in (presets.CONF / group).glob("*.yaml")}


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value of nested mappings with its keys."""
    if isinstance(tree, dict) and (tree or not path):
        for name, value in tree.items():
            yield from leaves(value, (*path, name))
    else:
        yield path, tree


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", GROUPS)
def test_no_preset_takes_the_name_of_a_registered_part(group: str) -> None:
    load()
    assert not stems(group) & GROUPS[group].classes.keys()


def test_every_preset_lies_in_a_group() -> None:
    files = {path.relative_to(presets.CONF).as_posix() for path in presets.CONF.rglob("*") if path.is_file()}
    known = {f"{group}/{stem}.yaml" for group in presets.groups() for stem in stems(group)}
    assert files == {"config.yaml", "hydra/launcher/laptop.yaml"} | known


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_chooses_parts_and_sets_stable_sections_only(name: str) -> None:
    text = (presets.EXPERIMENTS / f"{name}.yaml").read_text()
    content = yaml.safe_load(text)
    assert text.splitlines()[0] == "# @package _global_"
    assert content.keys() <= {"defaults", "trainer", "evaluation", "tracking", "hydra"}
    assert content.get("hydra", {}).keys() <= {"mode", "sweeper", "launcher"}
    assert "_target_" not in text
    for default in content["defaults"]:
        if isinstance(default, str):  # another experiment, and what this one changes
            assert default in {*EXPERIMENTS, "_self_"}
            continue
        ((override, choice),) = default.items()
        group = override.removeprefix("override /")
        assert group in {*GROUPS, "hydra/sweeper", "hydra/launcher"}, override
        if group in GROUPS:
            chosen = choice if isinstance(choice, list) else [choice]
            assert set(chosen) <= set(presets.options(group))


@pytest.mark.slow
def test_every_experiment_composes_with_every_part_and_preset() -> None:
    """Each composition takes the next choice of every group: every choice occurs with several experiments, and every
    experiment with three choices of each group. An experiment sets no part's fields, as the test above says, so what
    breaks one pair breaks others."""
    hydra_store.publish()
    choices = {group: presets.options(group) for group in GROUPS}
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(presets.CONF), version_base="1.3"):
        most = max(map(len, choices.values()))
        for first, experiment in enumerate([*EXPERIMENTS, "none"]):
            for i in (first + most * part // 3 for part in range(3)):
                words = []
                for group, options in choices.items():
                    choice = options[i % len(options)]
                    added = "+" if group in player_groups() else ""  # the command adds it
                    words.append(f"{group}=[{choice}]" if GROUPS[group].listed else f"{added}{group}={choice}")
                try:
                    check_parts(hydra.compose("config", [f"experiment={experiment}", *words]))
                except Exception as error:
                    raise AssertionError(f"experiment={experiment} {' '.join(words)}") from error


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_composes_as_it_stands(name: str) -> None:
    composed = compose(f"experiment={name}")
    check_parts(composed)
    said = yaml.safe_load((presets.EXPERIMENTS / f"{name}.yaml").read_text())
    for section in ("trainer", "evaluation", "tracking"):
        for path, value in leaves(said.get(section, {})):
            actual: Any = resolved(composed)[section]
            for key in path:
                actual = actual[key]
            assert actual == value, ".".join(path)


# -- who wins ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def mine(workdir: Path) -> Path:
    """A user's own folder: a preset, and an experiment that chooses it."""
    (workdir / "mine" / "experiment").mkdir(parents=True)
    (workdir / "mine" / "generator").mkdir()
    (workdir / "mine" / "generator" / "narrow.yaml").write_text("defaults: [mlp, _self_]\nwidth: 7\ndepth: 1\n")
    (workdir / "mine" / "experiment" / "short.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n  - override /generator: narrow\n  - override /discriminator: mlp\n  - override /dataset: mixture\n"
        "trainer: {images: 24, batch_size: 8, device: cpu}\nevaluation: {samples: 16}\n"
        "tracking: {wandb: {tags: [own]}}\n"
    )
    return workdir / "mine"


def test_an_experiment_wins_over_the_config_and_the_command_line_over_both(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(*words: str) -> Any:
        capsys.readouterr()
        assert main(["train", "--cfg", "job", *words]) == 0
        return yaml.safe_load(capsys.readouterr().out)

    plain, own = shown("experiment=none"), shown("--config-dir", "mine", "experiment=short")
    both = shown("--config-dir", "mine", "experiment=short", "trainer.images=5", "generator=mlp", "generator.width=9")
    assert plain["trainer"]["images"] == sections.Trainer().images
    assert (own["trainer"]["images"], own["trainer"]["batch_size"], own["generator"]["width"]) == (24, 8, 7)
    assert (both["trainer"]["images"], both["trainer"]["batch_size"], both["generator"]["width"]) == (5, 8, 9)
    assert own["tracking"]["wandb"] == plain["tracking"]["wandb"] | {"tags": ["own"]}
    assert own["dataset"]["name"] == "mixture"


def test_own_presets_and_experiments_train(mine: Path) -> None:
    words = ["train", "--config-dir", "mine", "experiment=short", "dataset.samples=64", "discriminator.width=8"]
    assert main([*words, "run_dir=out"]) == 0
    written = yaml.safe_load(Path("out/config.yaml").read_text())
    assert {name: written["generator"][name] for name in ("name", "width", "depth")} == {
        "name": "mlp", "width": 7, "depth": 1
    }  # fmt: skip
    assert written["experiment"] == "short"
    assert written["run_dir"] == "out"
    summary = yaml.safe_load(Path("out/summary.json").read_text())
    assert (summary["status"], summary["images"]) == ("finished", 24)
    assert summary["config_hash"] == identity.config_hash(written)


@pytest.mark.slow
def test_own_presets_are_swept(mine: Path) -> None:
    words = [word for word in TINY if not word.startswith("generator")]
    assert main(["train", "-m", "--config-dir", "mine", *words, "generator=narrow,mlp", "sweep_dir=out"]) == 0
    written = [yaml.safe_load(path.read_text()) for path in Path("out").glob("*/config.yaml")]
    assert sorted(content["generator"]["width"] for content in written) == [7, 128]


def test_an_unknown_key_beside_own_presets_is_one_helpful_line(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config-dir", "mine", "experiment=short", "generator.widht=3"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "generator has no key widht. Did you mean width" in error


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_an_optimizers_short_form_is_its_long_form(player: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for spelling in (f"optimizer.{player}=sgd", f"optimizer/{player}=sgd"):
        assert main(["train", "--cfg", "job", "experiment=none", spelling]) == 0
        shown.append(yaml.safe_load(capsys.readouterr().out))
    assert shown[0] == shown[1]
    assert shown[0]["optimizer"][player]["name"] == "sgd"
    other = "discriminator" if player == "generator" else "generator"
    assert shown[0]["optimizer"][other]["name"] == "adam"


def test_regularizers_are_chosen_as_a_list() -> None:
    assert resolved(compose("experiment=none"))["regularizer"] == {}
    chosen = resolved(compose("experiment=none", "regularizer=[r1]", "regularizer.r1.gamma=3"))["regularizer"]
    assert (chosen["r1"]["name"], chosen["r1"]["gamma"]) == ("r1", 3.0)


def test_showing_the_config_writes_nothing(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--cfg", "job", *TINY]) == 0
    captured = capsys.readouterr()
    assert yaml.safe_load(captured.out) == resolved(compose(*TINY))
    assert captured.err == ""
    assert not list(workdir.iterdir())


def test_a_users_preset_is_read_anew(mine: Path) -> None:
    words = ["--config-dir", "mine", "experiment=short", "--cfg", "job"]
    assert parse_command(words) is not None
    narrow = mine / "generator" / "narrow.yaml"
    narrow.write_text(narrow.read_text().replace("width: 7", "widht: 7"))
    with pytest.raises(ValueError, match="widht"):
        parse_command(words)


# -- lists -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_is_exactly_the_names_one_a_line(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind]) == 0
    known = set(KINDS[kind].classes).union(*(stems(group) for group in KINDS[kind].groups))
    assert capsys.readouterr().out == "".join(f"{name}\n" for name in sorted(known))


def test_experiments_are_listed_with_the_empty_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "experiments"]) == 0
    assert capsys.readouterr().out.split("\n") == [*sorted([*EXPERIMENTS, "none"]), ""]


def test_a_list_of_everything_has_every_kind_and_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    expected = ""
    for kind in [*KINDS, "experiments", "searches"]:
        assert main(["list", kind]) == 0
        expected += f"{kind}\n" + "".join(f"  {name}\n" for name in capsys.readouterr().out.split())
    assert shown == expected


# -- hashes and names --------------------------------------------------------------------------------------------------


def ignored(path: tuple[str, ...]) -> bool:
    """What DESIGN's fifth section leaves out of a config's hash."""
    elsewhere = {"run_dir", "sweep_dir", "sweep_name", "resume", "tracking", "hydra"}
    return path[0] in elsewhere or path in {
        ("trainer", name) for name in ("device", "images", "rollbacks", "profile", "processes", "timeout")
    }  # fmt: skip


def test_a_configs_hash_covers_every_value_but_the_ones_that_do_not_change_what_is_trained() -> None:
    content = resolved(compose("experiment=none", "regularizer=[r1]"))
    before = identity.config_hash(content)
    for path, value in leaves(content):
        changed = copy.deepcopy(content)
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = f"{value} and more"
        assert (identity.config_hash(changed) == before) is ignored(path), ".".join(path)


def test_a_configs_hash_knows_nothing_of_later_settings_at_what_they_were_before() -> None:
    """Or no run of an earlier version could go on."""
    left_out = set()
    for words in (["experiment=ring"], ["experiment=none", "discriminator=projected", "dataset=mnist5k"]):
        content = resolved(compose(*words))
        older = copy.deepcopy(content)
        older["schedule"]["learning_rate"]["warmup"] = content["schedule"]["learning_rate"]["warmup"] = 0.0
        for section, settings in identity.ADDED.items():
            for part in (older[section], *(part for part in older[section].values() if isinstance(part, dict))):
                for name in settings.keys() & part.keys():
                    left_out.add((section, name))
                    del part[name]
        assert older != content
        assert identity.config_hash(older) == identity.config_hash(content)
    assert left_out == {(section, name) for section, settings in identity.ADDED.items() for name in settings}


def test_a_configs_hash_is_the_same_in_any_order() -> None:
    content = resolved(compose("experiment=none"))
    turned = {name: content[name] for name in reversed(content)}
    turned["trainer"] = {name: content["trainer"][name] for name in reversed(content["trainer"])}
    assert identity.config_hash(turned) == identity.config_hash(content)


def test_a_jobs_name_does_not_depend_on_the_order_of_its_overrides() -> None:
    words = ["generator=mlp", "generator.width=8", "trainer.seed=1", "regularizer=[r1]", "trainer.images=100"]
    shuffled = random.Random(0).sample(words, len(words))
    assert shuffled != words
    assert identity.job_name(shuffled) == identity.job_name(words)


def test_a_jobs_name_ignores_what_does_not_change_what_is_trained() -> None:
    words = ["generator=mlp", "trainer.seed=1"]
    elsewhere = [
        "run_dir=a", "sweep_dir=b", "sweep_name=c", "resume=never", "trainer.device=cpu", "tracking.samples=4",
        "tracking.wandb.mode=offline", "hydra/launcher=basic", "hydra.mode=MULTIRUN", "+hydra.verbose=true",
    ]  # fmt: skip
    for word in elsewhere:
        assert identity.job_name([*words, word]) == identity.job_name(words), word


def test_a_jobs_name_tells_apart_what_is_trained() -> None:
    words = ["generator=mlp", "trainer.seed=1"]
    others = [
        [], ["generator=mlp"], ["generator=mlp", "trainer.seed=2"], ["generator=dcgan", "trainer.seed=1"],
        [*words, "trainer.images=5"], [*words, "evaluation.samples=5"],
        ["generator=mlp", "trainer.seed=1,trainer.ema=0"],
    ]  # fmt: skip
    assert len({identity.job_name(other) for other in [words, *others]}) == len(others) + 1


def test_what_follows_info_is_a_setting_and_not_what_is_shown() -> None:
    arguments = parse(["--info", "experiment=ring"])
    assert (arguments.flags, arguments.overrides) == (["--info=all"], ["experiment=ring"])
    arguments = parse(["-i", "experiment=ring"])
    assert (arguments.flags, arguments.overrides) == (["-i", "all"], ["experiment=ring"])
