"""A signature is a schema: what it says is what a config may hold, and what `build` hands to the class."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import hydra
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from gan_lab import registry, signatures
from gan_lab.config import hydra_store, presets
from gan_lab.registry import GROUPS, KINDS, Bounds, NonNegative, Positive, Rate, Share, generators


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    """What a test registers is gone after it."""
    registry.load()
    classes, nodes = {kind: dict(KINDS[kind].classes) for kind in KINDS}, dict(signatures.nodes)
    yield
    for group, parts in GROUPS.items():
        published = ConfigStore.instance().repo
        for folder in group.split("/"):
            published = published.get(folder, {})
        for name in parts.classes.keys() - classes[parts.kind].keys():
            published.pop(f"{name}.yaml", None)
    for kind, known in classes.items():
        KINDS[kind].classes = known
    signatures.nodes.clear()
    signatures.nodes.update(nodes)


def compose(*overrides: str) -> Any:
    """The config as Hydra makes it from the command line's words."""
    hydra_store.publish()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(presets.CONF), version_base="1.3"):
        return hydra.compose("config", ["experiment=none", *overrides])


def build(text: str, **values: Any) -> Any:
    """A generator from a config that no schema has seen."""
    return generators.build(OmegaConf.create(text), **values)


@dataclasses.dataclass(frozen=True)
class Inner:
    size: Positive = 3
    mode: Literal["near", "far"] = "near"


class Toy:
    """A toy with one parameter of every kind that a config can hold."""

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        num_classes: int | None,
        *,
        width: Positive = 64,
        rate: Rate = 0.5,
        share: Share = 1.0,
        skip: NonNegative = 0,
        narrow: Annotated[float, Bounds(-1, 1)] = 0.0,
        flag: bool = False,
        word: str = "plain",
        maybe: int | None = None,
        maybe_bounded: Positive | None = None,
        mode: Literal["first", "second"] = "first",
        kernel: Literal[1, 3] = 3,
        pair: tuple[int, int] = (1, 2),
        many: tuple[Positive, ...] = (),
        size: Positive | tuple[Positive, Positive] = 32,
        names: list[str] = ["a"],  # noqa: B006 - a list is what is tested
        table: dict[str, int] = {"a": 1},  # noqa: B006
        inner: Inner = Inner(),
        anything=None,  # type: ignore[no-untyped-def]
    ) -> None:
        self.given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}


@pytest.fixture
def toy() -> None:
    generators.register("toy")(Toy)


# -- schemas -----------------------------------------------------------------------------------------------------------


def test_every_default_of_a_signature_is_the_configs_default(toy: None) -> None:
    composed = OmegaConf.to_container(compose("generator=toy").generator, enum_to_str=True)
    assert composed == {
        "name": "toy", "width": 64, "rate": 0.5, "share": 1.0, "skip": 0, "narrow": 0.0, "flag": False, "word": "plain",
        "maybe": None, "maybe_bounded": None, "mode": "first", "kernel": 3, "pair": [1, 2], "many": [], "size": 32,
        "names": ["a"], "table": {"a": 1}, "inner": {"size": 3, "mode": "near"}, "anything": None,
    }  # fmt: skip


def test_an_unchanged_config_builds_what_the_class_builds_by_itself(toy: None) -> None:
    built = generators.build(compose("generator=toy").generator, sample_shape=(2,), num_classes=None)
    assert built.given == Toy((2,), None).given
    assert type(built.given["pair"]) is tuple
    assert type(built.given["mode"]) is str


def test_values_of_the_command_line_arrive_as_their_types(toy: None) -> None:
    words = (
        "width=3 rate=2 flag=true word=5 maybe=4 mode=second kernel=1 pair=[7,8] many=[1,2,3] size=[32,64] names=[x,y] "
        "+table.b=2 inner.size=9 inner.mode=far anything={a:1} narrow=-1 maybe_bounded=2"
    )
    overrides = [f"+generator.{w[1:]}" if w[0] == "+" else f"generator.{w}" for w in words.split()]
    built = generators.build(compose("generator=toy", *overrides).generator, sample_shape=(2,), num_classes=None)
    assert built.given == {
        **Toy((2,), None).given, "width": 3, "rate": 2.0, "flag": True, "word": "5", "maybe": 4, "mode": "second",
        "kernel": 1, "pair": (7, 8), "many": (1, 2, 3), "size": (32, 64), "names": ["x", "y"],
        "table": {"a": 1, "b": 2}, "inner": Inner(9, "far"), "anything": {"a": 1}, "narrow": -1.0, "maybe_bounded": 2,
    }  # fmt: skip
    assert type(built.given["rate"]) is float


def test_a_mutable_default_is_not_shared_between_builds(toy: None) -> None:
    values = {"sample_shape": (2,), "num_classes": None}
    build("{name: toy}", **values).given["names"].append("b")
    assert build("{name: toy}", **values).given["names"] == ["a"]


@pytest.mark.parametrize("word", ["width=1.5", "width=null", "flag=perhaps", "inner.size=x", "widht=3"])
def test_a_wrong_type_fails_at_composition(word: str, toy: None) -> None:
    with pytest.raises(HydraException):
        compose("generator=toy", f"generator.{word}")


@pytest.mark.parametrize(("word", "choices"), [("mode=third", "first, second"), ("inner.mode=off", "near, far")])
def test_a_wrong_literal_fails_at_composition_and_names_the_choices(word: str, choices: str, toy: None) -> None:
    with pytest.raises(HydraException) as error:
        compose("generator=toy", f"generator.{word}")
    assert choices in f"{error.value} {error.value.__cause__}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("width: 0", "generator.width=0: it must be at least 1"),
        ("width: wide", "generator.width"),
        ("rate: 0", "generator.rate=0.0: it must be more than 0"),
        ("rate: .nan", "generator.rate=nan"),
        ("rate: .inf", "generator.rate=inf"),
        ("share: 1.5", "it must be at least 0 and at most 1"),
        ("share: .nan", "generator.share=nan"),
        ("skip: -1", "generator.skip=-1: it must be at least 0"),
        ("narrow: -1.01", "it must be at least -1 and at most 1"),
        ("narrow: -.inf", "generator.narrow=-inf"),
        ("maybe_bounded: 0", "generator.maybe_bounded=0: it must be at least 1"),
        ("mode: third", "first"),
        ("kernel: 2", "1, 3"),
        ("pair: [1]", "expected 2 values, not 1"),
        ("pair: [1, 2, 3]", "expected 2 values, not 3"),
        ("pair: [1, x]", "generator.pair"),
        ("pair: 5", "generator.pair"),
        ("many: [1, 0]", "generator.many[1]=0"),
        ("size: 0", "generator.size=0"),
        ("size: [32, 0]", "generator.size[1]=0"),
        ("size: [32]", "expected 2 values, not 1"),
        ("size: big", "generator.size=big"),
        ("size: [32, big]", "generator.size"),
        ("size: [32, 1.5]", "generator.size"),
        ("size: 1.5", "generator.size=1.5"),
        ("size: true", "generator.size=True"),
        ("size: null", "generator.size=None"),
        ("inner: {size: 0}", "generator.inner.size=0"),
        ("inner: {mode: off}", "near, far"),
        ("inner: 3", "generator.inner"),
        ("inner: {sise: 3}", "sise"),
        ("widht: 3", "generator has no key widht. Did you mean width?"),
        ("table: {a: x}", "generator.table"),
        ("_target_: os.getcwd", "_target_"),
    ],
)
def test_build_refuses_by_name_what_the_signature_does_not_allow(text: str, message: str, toy: None) -> None:
    with pytest.raises(ValueError, match="generator") as error:
        build(f"name: toy\n{text}", sample_shape=(2,), num_classes=None)
    assert message in str(error.value)


def test_an_unknown_name_is_refused_with_the_nearest_and_all(toy: None) -> None:
    with pytest.raises(ValueError, match="Did you mean toy") as error:
        build("name: toyy")
    assert str(error.value).endswith(f"Choose from: {', '.join(sorted(generators.classes))}")


@pytest.mark.parametrize("part", ["toy", 3, None])
def test_a_value_where_a_part_belongs_is_refused(part: Any, toy: None) -> None:
    with pytest.raises(ValueError, match="generator"):
        generators.build(part, sample_shape=(2,), num_classes=None)


def test_a_part_that_needs_what_the_run_does_not_have_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="needs image_size and image_channels") as error:
        build("name: dcgan", sample_shape=(2,), num_classes=None)
    assert "samples of shape (2,)" in str(error.value)
    assert "\n" not in str(error.value)


def test_supplied_values_reach_only_who_asks_for_them(toy: None) -> None:
    built = build("name: toy", sample_shape=(2,), num_classes=7, image_size=5)
    assert built.given["num_classes"] == 7
    assert "image_size" not in built.given


def test_a_name_is_registered_once(toy: None) -> None:
    with pytest.raises(ValueError, match="generators/toy is registered twice") as error:

        @generators.register("toy")
        class Other:
            pass

    assert "Toy" in str(error.value)
    assert "Other" in str(error.value)
    assert generators.classes["toy"] is Toy


def test_the_same_class_may_be_registered_again(toy: None) -> None:
    generators.register("toy")(Toy)  # as a reloaded notebook cell does
    assert generators.classes["toy"] is Toy


@pytest.mark.parametrize("kind", KINDS)
def test_every_registered_part_has_a_documented_typed_node(kind: str) -> None:
    for name, cls in KINDS[kind].classes.items():
        node = signatures.nodes[f"{kind}__{name}"]
        OmegaConf.structured(node)
        assert [field.name for field in dataclasses.fields(node)] == [
            "name",
            *(p for p, _, _ in registry.parameters(cls)),
        ]
        assert cls.__doc__, f"{kind}/{name} says nothing"


# -- other modules and processes ---------------------------------------------------------------------------------------

PLUGIN = '''\
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gan_lab.registry import Positive, generators

if TYPE_CHECKING:
    from somewhere import Shape


class Base:
    def __init__(self, sample_shape: Shape, *, width: Positive = 5, mode: Literal["left", "right"] = "left") -> None:
        self.width, self.mode = width, mode


@generators.register("theirs")
class Theirs(Base):
    """Its __init__ is inherited, and a supplied parameter's annotation exists for type checkers only."""
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an importable module that registers `theirs`."""
    (tmp_path / "their_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_loaded", False)
    yield "their_plugin"
    sys.modules.pop("their_plugin", None)


def test_a_plugin_with_postponed_annotations_registers(plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_LAB_PLUGINS", plugin)
    built = generators.build(compose("generator=theirs", "generator.mode=right").generator, sample_shape=(2,))
    assert (built.width, built.mode) == (5, "right")
    with pytest.raises(ValueError, match=r"generator\.width=0"):
        build("{name: theirs, width: 0}", sample_shape=(2,))


def test_a_class_that_inherits_from_another_module_takes_its_annotations_there(
    plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = importlib.import_module(plugin).Base
    generators.register("ours")(type("Ours", (base,), {"__doc__": "Ours."}))
    with pytest.raises(ValueError, match=r"generator\.width=0"):
        build("{name: ours, width: 0}", sample_shape=(2,))


def test_entry_points_are_plugins(plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint(name="extra", value=plugin, group="gan_lab")
    groups = {"gan_lab": importlib.metadata.EntryPoints([entry])}
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: groups[group])
    registry.load()
    assert "theirs" in generators.classes


def test_a_failing_entry_point_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint(name="extra", value="no_such_module", group="gan_lab")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: importlib.metadata.EntryPoints([entry]))
    monkeypatch.setattr(registry, "_loaded", False)
    with pytest.raises(ValueError, match="plug-in extra cannot be imported: ModuleNotFoundError"):
        registry.load()


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("x = 1\nx.y.z\n", "AttributeError", "their_plugin.py:2"),
        ("x = (\n", "SyntaxError", "their_plugin.py"),
        ("import json\n\njson.loads('')\n", "JSONDecodeError", "decoder.py:"),  # where it was raised
        ("import no_such_module\n", "no_such_module", "their_plugin.py:1"),
        ("raise SystemExit(0)\n", "SystemExit", "their_plugin.py:1"),
    ],
)
def test_a_plugin_that_fails_is_a_value_error_with_its_file_and_line(
    text: str, message: str, place: str, plugin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_plugin.py").write_text(text)
    monkeypatch.setenv("GAN_LAB_PLUGINS", plugin)
    for _ in range(2):  # a failure is not taken for done
        with pytest.raises(ValueError, match="plug-in their_plugin cannot be imported") as error:
            registry.load()
        assert message in str(error.value)
        assert place in str(error.value)


def test_the_names_of_plugins_may_be_divided_by_spaces_or_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_LAB_PLUGINS", " one.two,three  four ")
    assert registry.plugins() == ["one.two", "three", "four"]


def test_a_plugin_of_the_current_directory_is_listed_and_its_nodes_unpickle_in_a_fresh_process(
    tmp_path: Path, plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process, for it takes seconds: `-P` keeps Python itself from looking into the current directory."""
    monkeypatch.setenv("GAN_LAB_PLUGINS", plugin)
    registry.load()
    ours = OmegaConf.structured(signatures.nodes["datasets__mixture"])
    theirs = compose("generator=theirs", "generator.mode=right").generator
    (tmp_path / "nodes.pickle").write_bytes(pickle.dumps([ours, theirs]))
    script = (
        "import pickle, sys; from pathlib import Path\n"
        "assert 'gan_lab' not in sys.modules\n"
        "ours, theirs = pickle.loads(Path('nodes.pickle').read_bytes())\n"
        "from omegaconf import OmegaConf; from gan_lab.registry import generators, datasets\n"
        "assert datasets.build(ours).layout == 'ring'\n"
        "assert generators.build(theirs, sample_shape=(2,)).mode == 'right'\n"
        "try: theirs.width = 'wide'\n"
        "except Exception as error: print(type(error).__name__)\n"
        "from gan_lab.cli import main; main(['list', 'generators'])\n"
    )
    result = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path, env=os.environ | {"GAN_LAB_PLUGINS": plugin}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    error, *names = result.stdout.split()
    assert error == "ValidationError"
    assert set(names) == generators.classes.keys() | set(presets.options("generator"))
    assert "theirs" in names


def test_the_package_alone_imports_nothing_heavy() -> None:
    script = (
        "import sys, gan_lab.registry; print([m for m in ('torch', 'hydra', 'omegaconf', 'wandb') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
