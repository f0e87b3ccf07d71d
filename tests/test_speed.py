"""What was made fast computes what it did before, and the host waits for nobody between two log points."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from omegaconf import DictConfig
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gan_lab.cli import main
from gan_lab.core.hooks import Log
from gan_lab.core.loop import Game, play, step
from gan_lab.core.runtime import VARIANTS, Runtime, fastest_precision, judges_rows
from gan_lab.datasets.columns import described_by
from gan_lab.datasets.store import Store
from gan_lab.datasets.validation import Validation
from gan_lab.run.assembly import assemble
from gan_lab.run.parts import build_task, supplied_values
from gan_lab.run.profiling import HOOKS, STEPS, WARM_UP, Profile
from tests.helpers import compose
from tests.toy_data import ToyPictures

PICTURES = (
    "experiment=none",
    "dataset=toy_pictures",
    "trainer.batch_size=4",
    "trainer.device=cpu",
    "evaluation.metrics=[]",
)
POINTS = ("experiment=none", "dataset=mixture", "generator=mlp", "discriminator=mlp", "trainer.device=cpu")
SMALL = ("generator.width=8", "discriminator.width=8")


def built(config: DictConfig, shape: tuple[int, ...], classes: int | None) -> Any:
    """A task with its networks, for data of a shape and a number of classes."""
    return build_task(config, described_by(shape, classes), supplied_values(shape, classes), 0)


def game_of(*overrides: str) -> Game:
    return assemble(compose(*overrides)).game


# -- real and fake samples in one pass ---------------------------------------------------------------------------------

ROWWISE = {
    "points": (*POINTS, "trainer.batch_size=16"),
    "dcgan": (*PICTURES, *SMALL, "discriminator.normalization=none"),
    "layer norm, projection": (
        *PICTURES, *SMALL, "discriminator.normalization=layer", "discriminator.conditioning=projection",
        "generator.conditioning=concat", "augment=diffaugment",
    ),
    "auxiliary": (
        *PICTURES, "discriminator=mlp", "discriminator.conditioning=auxiliary", "generator.conditioning=concat",
    ),
    "patchgan": (*PICTURES, *SMALL, "discriminator=patchgan", "discriminator.normalization=instance"),
    "unet": (*PICTURES, *SMALL, "discriminator=unet", "discriminator.spectral_norm=false"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWWISE)
def test_one_pass_over_real_and_fake_samples_gives_the_gradients_of_two(name: str) -> None:
    together, apart = game_of(*ROWWISE[name]), game_of(*ROWWISE[name])
    assert together.task.judges_rows  # type: ignore[attr-defined]
    apart.task.judges_rows = False  # type: ignore[attr-defined]
    for game in (together, apart):
        game.active_phases()
        recorded = play(game, game.phases[0])
        assert {"real_logits", "fake_logits"} <= recorded.keys()
    pairs = zip(together.parameters["discriminator"], apart.parameters["discriminator"], strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "override", ["discriminator.normalization=batch", "discriminator.spectral_norm=true", "discriminator=resnet"]
)
def test_a_discriminator_that_a_pass_changes_gets_two(override: str) -> None:
    """Batch statistics and power iterations would see another batch."""
    assert not game_of(*PICTURES, override).task.judges_rows  # type: ignore[attr-defined]


def test_a_network_that_does_not_say_so_mixes_rows() -> None:
    net = torch.nn.Linear(2, 1)
    assert not judges_rows(net)
    net.rowwise = True  # type: ignore[assignment]
    assert judges_rows(net)
    assert not judges_rows(torch.nn.Sequential(net, torch.nn.Dropout()))


# -- labels that nobody looks at ---------------------------------------------------------------------------------------


def test_labels_are_drawn_for_networks_that_listen_only() -> None:
    unconditional = built(compose(*PICTURES), (1, 32, 32), 2)
    conditional = built(compose(*PICTURES, "generator.conditioning=concat"), (1, 32, 32), 2)
    assert (unconditional.conditional, conditional.conditional) == (False, True)
    del conditional.nets["discriminator"].conditioning
    del conditional.nets["generator"].conditioning  # a stranger's network, which may listen
    nets = conditional.nets
    parts = SimpleNamespace(
        generator=lambda: nets["generator"], discriminator=lambda: nets["discriminator"],
        augment=lambda: conditional.augment, columns={"sample": None},
    )  # fmt: skip
    again = type(conditional)(parts, (1, 32, 32), 2)
    assert again.conditional


def test_a_term_may_still_ask_for_them() -> None:
    game = game_of(*PICTURES, *SMALL)
    forward = game.task.forward_pass(game, game.phases[0], 0, slice(0, 4))
    assert forward.real_output is not None  # type: ignore[attr-defined]
    assert "real_label" not in vars(forward), "not drawn"
    assert forward.real_label.shape == forward.fake_label.shape == (4,)  # type: ignore[attr-defined]


# -- what is said ------------------------------------------------------------------------------------------------------


def test_another_algorithm_is_called_so_and_a_slow_precision_too(monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*POINTS, "trainer.precision=bf16", "trainer.reuse_fakes=true")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False}, raising=False)
    notes = assemble(compose(*words)).notes
    assert any("trainer.reuse_fakes" in note and "another algorithm" in note for note in notes)
    assert any("trainer.precision=fp32" in note for note in notes)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert not any("trainer.precision" in note for note in assemble(compose(*words)).notes)
    assert not any("reuse_fakes" in note for note in assemble(compose(*POINTS)).notes)


def test_recipes_are_listed_without_torch() -> None:
    code = "import sys; from gan_lab.cli import main; main(['list', 'experiments']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "fashion_mnist_5min" in done.stdout


# -- waiting -----------------------------------------------------------------------------------------------------------


class Reads(TorchDispatchMode):
    """Counts how often the host asks for a tensor's value."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "_local_scalar_dense" in str(func) or "nonzero" in str(func):
            self.count[str(func)] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "overrides",
    [
        (*PICTURES, *SMALL, "regularizer=[r1]", "regularizer.r1.every=2", "trainer.ema=0.9", "augment=diffaugment"),
        (*PICTURES, *SMALL, "discriminator=resnet", "trainer.precision=bf16", "task.n_critic=2"),
        (*POINTS, "trainer.reuse_fakes=true", "schedule/learning_rate=cosine"),
    ],
)
def test_the_host_reads_no_value_between_two_log_points(
    overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runtime, "asynchronous", True)  # as on a GPU: on a CPU there is nothing to wait for
    assembly = assemble(compose(*overrides))
    game = assembly.game
    records: list[dict[str, Any]] = []
    game.add(Log(6 * game.batch_size * max(phase.repeat for phase in game.phases), records.append))
    lists: list[int] = []
    tolist = Tensor.tolist

    def counted(values: Tensor) -> Any:
        lists.append(game.step)
        return tolist(values)

    monkeypatch.setattr(Tensor, "tolist", counted)
    with Reads() as reads:
        for _ in range(12):
            step(game)
    assert not reads.count
    assert len(records) == len(lists) == 2, "one read for each record"


# -- where the time goes -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2, 4])  # in the main phase, in the step that is counted, and resting there
def test_the_profile_names_every_phase_and_changes_nothing(every: int) -> None:
    words = (*POINTS, "regularizer=[r1]", f"regularizer.r1.every={every}", "task.n_critic=2", "trainer.batch_size=8")
    plain, watched = game_of(*words), game_of(*words)
    lines: list[str] = []
    watched.add(Profile(lines.append))
    for game in (plain, watched):
        for _ in range(WARM_UP + STEPS + 3):
            step(game)
    for mine, theirs in zip(watched.nets.parameters(), plain.nets.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    text = "\n".join(lines)
    lazy = ["discriminator_r1"] if every > 1 else []
    assert all(f"\n  {name} " in text for name in ("discriminator", "generator", *lazy, HOOKS)), text
    assert "linear 8x" in text or "addmm 8x" in text or "addmm 128 8x" in text, text
    row = next(line for line in lines if line.startswith("  discriminator ")).split()
    milliseconds, share, *parts, rate = row[1:]
    assert float(milliseconds) > 0
    assert 0 < float(share.rstrip("%")) < 100
    assert sum(float(part.rstrip("%")) for part in parts) == pytest.approx(100, abs=0.3)
    assert float(rate.replace(",", "")) > 0
    assert all(float(part.rstrip("%")) > 0 for part in parts[:3]), "forward, backward and update"


def test_the_profile_counts_what_each_play_computes() -> None:
    """Forward of both networks, and the gradients that a phase wants: none of what rests, and of no first input."""
    game = game_of(*POINTS, "generator.depth=1", "discriminator.depth=1", "task.n_critic=3", "trainer.batch_size=8")
    profile = Profile(lambda line: None)
    game.add(profile)
    for _ in range(WARM_UP + STEPS + 1):
        step(game)
    g, d = 2 * 8 * (16 * 128 + 128 * 2), 2 * 8 * (2 * 128 + 128)  # operations of a forward pass
    g_first, d_first = 2 * 8 * 16 * 128, 2 * 8 * 2 * 128  # of its first layer
    assert profile._flops["discriminator"] == [g + 2 * (d + 2 * d - d_first)] * 3
    assert profile._flops["generator"] == [g + 2 * g - g_first + d + d]


def test_a_run_that_is_too_short_to_be_looked_at_says_so() -> None:
    game = game_of(*POINTS, "trainer.batch_size=8")
    lines: list[str] = []
    profile = Profile(lines.append)
    game.add(profile)
    for _ in range(WARM_UP + 2):
        step(game)
    profile.close()
    assert lines == ["trainer.profile: 12 steps are too few to look at; it takes 31"]


# -- compiled ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_game_compiles_anew_and_may_have_many_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch goes back to eager code silently after eight variants of one function, those of earlier runs included."""
    compiled: list[torch.Tensor] = []

    def backend(module: Any, inputs: Any) -> Any:
        compiled.append(module)
        return module.forward

    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net, mode: original(net, backend=backend))
    nets = [built(compose(*POINTS, f"generator.width={width}"), (2,), None).nets for width in range(8, 20)]
    with torch._dynamo.config.patch(recompile_limit=8):
        Runtime(compile="default").compiled(torch.nn.ModuleDict())
        assert torch._dynamo.config.recompile_limit == VARIANTS > 8
    monkeypatch.setattr("gan_lab.core.runtime.VARIANTS", 8)
    with torch._dynamo.config.patch(recompile_limit=8):
        for net in nets:
            Runtime(compile="default").compiled(net)["generator"](torch.zeros(2, 16))
    assert len(compiled) == 12


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiled_run_trains_alike(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("GAN_LAB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # so that it is as it was afterwards
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    words = (
        *POINTS,
        "trainer.batch_size=8",
        "generator.width=8",
        "discriminator.width=8",
        "generator.depth=1",
        "discriminator.depth=1",
    )
    optimizers = [f"optimizer/{player}=sgd" for player in ("generator", "discriminator")]
    games = game_of(*words, *optimizers, "trainer.compile=true"), game_of(*words, *optimizers)
    for game in games:
        for _ in range(2):
            step(game)
    for mine, theirs in zip(*(game.nets.parameters() for game in games), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    assert any((tmp_path / "compiled").iterdir()), "what other jobs of a sweep find"


# -- data --------------------------------------------------------------------------------------------------------------


def test_data_stay_where_they_are_without_a_gpu() -> None:
    store = ToyPictures().load()
    assert store.on(torch.device("cpu")) is store


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_data_that_fit_lie_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    store, device = ToyPictures().load(), torch.device("cuda")
    rows = torch.tensor([3, 1])
    wanted = store.fetch("sample", rows)
    on_device = store.on(device)
    assert on_device.columns["sample"].is_cuda
    assert torch.equal(on_device.fetch("sample", rows, device).cpu(), wanted)
    monkeypatch.setattr("gan_lab.datasets.store.DEVICE_SHARE", 0.0)
    assert store.on(device) is store
    assert torch.equal(store.fetch("sample", rows, device).cpu(), wanted)


def test_validation_pictures_come_from_the_training_data_and_are_not_trained_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = Numbered(40)
    held = Validation(whole, 10)
    train, test = (held.load(split).columns["sample"].flatten().tolist() for split in ("train", "test"))
    assert (len(train), len(test)) == (30, 10)
    assert sorted(train + test) == list(range(40))
    monkeypatch.setenv("GAN_LAB_CACHE", str(tmp_path))
    assert Validation(copy.copy(whole), 10).load("test").columns["sample"].flatten().tolist() == test, (
        "alike in every run"
    )
    assert held.num_classes == copy.copy(held).num_classes == 3
    with pytest.raises(ValueError, match=r"evaluation.validation=40 of 40 pictures leaves none"):
        Validation(whole, 40).load()


def test_validation_pictures_have_the_labels_of_their_run() -> None:
    for label in (1, 2):
        columns = Validation(Numbered(40, label), 10).load("test").columns
        assert columns["label"].tolist() == [label] * 10
    assert "label" not in Validation(Numbered(40), 10).load("test").columns


def test_broken_pictures_are_told_once() -> None:
    held = Validation(Numbered(41, skipped={"a.png": "broken"}), 10)
    assert (held.load("train").skipped, held.load("test").skipped) == ({"a.png": "broken"}, {})


def test_stacked_digits_are_not_held_out_from_those_of_the_same_digits() -> None:
    with pytest.raises(ValueError, match="share their parts"):
        assemble(compose("experiment=none", "dataset=stacked", "evaluation.validation=10"))


class Numbered:
    """Pictures of a pixel, each of another brightness."""

    num_classes = 3

    def __init__(self, num: int, label: int | None = None, skipped: dict[str, str] | None = None) -> None:
        self.num, self.label, self.skipped = num, label, skipped

    def load(self, split: str = "train") -> Store:
        assert split == "train", "its test pictures stay unseen"
        columns = {"sample": torch.arange(self.num, dtype=torch.uint8).view(-1, 1, 1, 1)}
        if self.label is not None:
            columns["label"] = torch.full((self.num,), self.label)
        return Store(columns, self.skipped)


# -- precision ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("has", "expected"),
    [({"amx_bf16": True, "avx2": True}, "bf16"), ({"amx_bf16": False, "avx2": True}, "fp32"), ({}, "fp32")],
)
def test_auto_is_bf16_only_where_a_cpu_is_known_to_have_units_for_it(
    has: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    assert fastest_precision(torch.device("cpu")) == expected
    assert fastest_precision(torch.device("mps")) == "fp32"


def test_a_run_says_what_auto_was_and_goes_on_in_it_on_another_machine(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["experiment=ring", "trainer.precision=auto", "trainer.device=cpu", "evaluation.metrics=[]",
             "tracking.wandb.mode=disabled", "schedule/learning_rate=constant", "run_dir=run"]  # fmt: skip
    for units, images in ((False, 128), (True, 256)):  # it goes on where there are other units
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=units: {"amx_bf16": has}, raising=False)
        assert main(["train", *words, f"trainer.images={images}"]) == 0
        assert yaml.safe_load(Path("run/config.yaml").read_text())["trainer"]["precision"] == "fp32"
    assert json.loads(Path("run/summary.json").read_text())["images"] == 256
    assert main(["train", *words, "trainer.images=256", "trainer.precision=bf16"]) == 2, "that would be another run"
