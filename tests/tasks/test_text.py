"""Text: the two stages, killed in either; the schedule of the temperature; what is printed and what is refused."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gan_lab.cli import main
from gan_lab.core import checkpoint
from gan_lab.core.loop import train
from gan_lab.run.assembly import assemble
from gan_lab.run.trained_run import TrainedRun
from tests.core.toys import equal
from tests.helpers import compose
from tests.tasks.killing import kill_after
from tests.tasks.small import passed, task_of, weights
from tests.tasks.toys import QUICK, SCORED, TEXT

ROOT = Path(__file__).parents[2]
STAGES = [*QUICK, *TEXT, "task.likelihood_images=32", "task.cooling_images=16", "trainer.images=64"]
RUN = [*STAGES, *SCORED, "trainer.checkpoint_every=16", "evaluation.every=32", "trainer.keep_checkpoints=9"]
GENERATORS = ["lstm", "relational_memory", "causal_transformer"]


def changed_by(words: Sequence[str]) -> list[str]:
    """The words of a small run and these. Settings of a part that they choose anew are left out."""
    chosen = {word.split("=")[0] for word in words if "." not in word.split("=")[0]}
    return [*(word for word in STAGES if re.split("[.=]", word)[0] not in chosen), *words]


def game_of(*words: str) -> Any:
    return assemble(compose(*changed_by(words), "evaluation.metrics=[]")).game


def test_the_likelihood_stage_moves_the_generator_alone_and_then_both_play() -> None:
    game = game_of()
    before = weights(game.nets)
    train(game, 32)
    after = weights(game.nets)
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"generator"}
    assert [phase.name for phase in game.active_phases()] == ["discriminator", "generator"]
    train(game, 64)
    moved = {name.split(".")[0] for name, value in weights(game.nets).items() if not torch.equal(value, after[name])}
    assert moved == {"discriminator", "generator"}


def test_without_a_likelihood_stage_there_is_none() -> None:
    assert [phase.name for phase in game_of("task.likelihood_images=0").phases] == ["discriminator", "generator"]


def test_likelihood_learns_faster_than_chance() -> None:
    game = game_of("task.likelihood_images=4000", "optimizer.generator.learning_rate=0.02")
    task, nets = task_of(assemble(compose(*STAGES, "evaluation.metrics=[]"))), game.nets
    row = next(task.examples(nets, 16, 0, game.data))
    train(game, 800)
    assert next(task.examples(nets, 16, 0, game.data))["nll"].mean() < 0.8 * row["nll"].mean()


def test_the_temperature_falls_as_the_paper_has_it() -> None:
    """beta = coldness^(n / N): 1, its square root half way, then coldness for good."""
    task = task_of(assemble(compose(*STAGES, "task.coldness=100", "evaluation.metrics=[]")))
    assert [task.inverse_temperature(n) for n in (0, 32, 40, 48, 999)] == pytest.approx([1, 1, 10, 100, 100])


def test_reals_are_one_hot_rows_and_fakes_distributions_of_the_same_shape() -> None:
    game = game_of("task.likelihood_images=0")
    game.give_turn("generator")
    forward = passed(game, "generator")
    assert forward.real.shape == forward.fake.shape == (8, 6, 12)
    assert torch.equal(forward.real.argmax(2), forward.tokens)
    torch.testing.assert_close(forward.fake.sum(2), torch.ones(8, 6))
    assert forward.fake.requires_grad
    assert forward.real_logits.shape == forward.fake_logits.shape == (8, 3), "a logit for each representation"


def test_micro_batches_draw_the_rows_of_the_whole_batch() -> None:
    game = game_of("task.likelihood_images=0")
    whole, part = passed(game, "generator"), passed(game, "generator", slice(3, 6))
    torch.testing.assert_close(whole.fake[3:6], part.fake)


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize(
    "words",
    [["loss=hinge"], ["loss=wasserstein", "regularizer=[gradient_penalty]"], ["regularizer=[r1]"],
     ["discriminator=mlp"], ["task.straight_through=true", "trainer.reuse_fakes=true"]],
    ids=lambda words: words[0],
)  # fmt: skip
def test_any_loss_regularizer_and_discriminator_play(generator: str, words: list[str]) -> None:
    game = game_of(f"generator={generator}", "generator.width=8", "task.likelihood_images=8", *words)
    train(game, 24)
    assert all(value.isfinite().all() for value in weights(game.nets).values())


# -- exact resume ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both stages that nobody interrupts."""
    folder = tmp_path_factory.mktemp("text") / "whole"
    assert main(["train", *RUN, f"run_dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that were killed after a checkpoint of the likelihood stage, 16, and of the game, 48."""
    folder = tmp_path_factory.mktemp("killed")
    kill_after((16, 48), RUN, folder)
    return folder


def state_of(run: Path) -> dict[str, Any]:
    state = checkpoint.load_newest(run / "checkpoints")
    assert state is not None
    return state["game"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("images", [16, 48])
def test_a_run_that_is_killed_in_either_stage_ends_with_the_same_bits(images: int, killed: Path, whole: Path) -> None:
    folder = killed / str(images)
    assert state_of(folder)["images"] == images
    assert main(["train", *RUN, f"run_dir={folder}"]) == 0
    assert equal(state_of(folder), state_of(whole))
    lines = [(run / "samples" / "64.txt").read_text() for run in (folder, whole)]
    assert lines[0] == lines[1]


def count_own_steps(game: Any) -> None:
    """A temperature that remembers, outside of the checkpoint, how often it was asked."""
    asked = iter(range(1, 999))
    game.task.inverse_temperature = lambda images: 1.1 ** next(asked)


def draw_by_torch(game: Any) -> None:
    """Noise of the global generator in place of keyed numbers."""
    uniform = game.task.forward_pass.draw

    class Unkeyed(game.task.forward_pass):  # type: ignore[misc, name-defined]
        def draw(self, stream: str, *shape: int, kind: str = "normal") -> torch.Tensor:
            return torch.rand_like(uniform(self, stream, *shape, kind=kind), generator=LOOSE)

    game.task.forward_pass = Unkeyed


LOOSE = torch.Generator()


@pytest.mark.parametrize(("change", "exact"), [(None, True), (count_own_steps, False), (draw_by_torch, False)])
def test_only_keyed_noise_and_a_temperature_by_images_resume_exactly(change: Any, exact: bool) -> None:
    """The mutation check of the tests above: with either change, the bits after resuming differ."""
    games = [game_of() for _ in range(3)]
    for game in games:
        if change is not None:
            change(game)
    whole, first, second = games
    train(whole, 64)
    train(first, 48)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(second, 64)
    assert equal(whole.state_dict(), second.state_dict()) == exact


# -- what is printed and scored ----------------------------------------------------------------------------------------


def test_sample_prints_lines_and_writes_them_and_tokens(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["sample", str(whole), "--num", "5"]) == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 5
    assert set(printed.split()) <= {f"w{i}" for i in range(1, 12)}
    assert main(["sample", str(whole), "--num", "5", "--out", str(tmp_path / "lines.txt")]) == 0
    assert (tmp_path / "lines.txt").read_text() == printed
    assert main(["sample", str(whole), "--num", "5", "--out", str(tmp_path / "tokens.npz")]) == 0
    arrays = np.load(tmp_path / "tokens.npz")
    assert (arrays["tokens"].shape, arrays["tokens"].dtype) == ((5, 6), np.int64)
    assert {"held_out", "nll"} <= set(arrays.files)


def test_scores_carry_the_vocabulary_and_stand_beside_their_bars(whole: Path) -> None:
    scores = json.loads((whole / "summary.json").read_text())["metrics"]
    task = TrainedRun(whole, "cpu").task
    assert task.vocabulary.digest[:12] in scores["held_out_nll"]["conditions"]
    assert {"oracle_nll", "oracle_nll_bigram", "oracle_nll_real", "held_out_nll", "held_out_nll_bigram"} <= set(scores)
    assert {"distinct2", "distinct2_bigram", "distinct2_real"} <= set(scores)
    assert scores["oracle_nll_real"]["value"] < scores["oracle_nll_bigram"]["value"]
    best = json.loads((whole / "summary.json").read_text())["best"]
    assert best["metric"] == "oracle_nll"
    assert best["images"] > 32, "of the game"


def test_the_likelihood_of_examples_is_the_networks_own(whole: Path) -> None:
    trained = TrainedRun(whole, "cpu")
    rows = trained.examples(6, seed=0)
    logits, _ = trained.nets["generator"](torch.cat([torch.zeros(6, 1).long(), rows["held_out"][:, :-1]], dim=1))
    for row, tokens, nll in zip(logits.detach().log_softmax(2), rows["held_out"].tolist(), rows["nll"], strict=True):
        stop = tokens.index(0) + 1 if 0 in tokens else len(tokens)
        assert float(nll) == pytest.approx(-sum(float(row[i, tokens[i]]) for i in range(stop)), rel=1e-5)


# -- refusals ----------------------------------------------------------------------------------------------------------

REFUSED = [
    (["dataset=mixture"], "task=text wants sentences"),
    (["generator=mlp"], "generator=mlp does not take vocabulary_size and length"),
    (["discriminator=dcgan"], "discriminator=dcgan needs image_size"),
    (["discriminator.windows=[2,9]"], "give some of at most 6 tokens"),
    (["augment=flip"], "augment=flip needs image_size"),
    (["task.coldness=0.5"], "task.coldness=0.5"),
    (["dataset=text", "dataset.path=none.txt"], "dataset.path=none.txt cannot be read"),
    (["dataset=text", "dataset.path=empty.txt"], "dataset.path=empty.txt is empty"),
    (["dataset=text", "dataset.path=lines.txt", "dataset.length=2"], "3 tokens are more than dataset.length=2"),
    (["dataset=text", "dataset.path=lines.txt", "dataset.test_path=other.txt", "dataset.unit=character"],
     "is not in the vocabulary"),
    (["regularizer=[zcr]"], "regularizer zcr needs latents"),
    (["degradation=denoising"], "task=text has no use for it"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_does_not_fit_is_one_line_and_code_2(
    words: list[str], said: str, workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, content in (("empty", "\n\n"), ("lines", "a b c\nb a\n" * 9), ("other", "a b é\n")):
        Path(f"{name}.txt").write_text(content)
    capfd.readouterr()
    assert main(["train", *changed_by(words), "run_dir=run"]) == 2
    error = capfd.readouterr().err
    assert said in error
    assert error.count("\n") == 1, error
    assert not Path("run").exists()


def test_data_of_another_vocabulary_are_refused_when_a_run_is_evaluated(
    whole: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert main(["evaluate", str(whole), "--device", "cpu", "dataset.vocabulary_size=13"]) == 2
    assert "another vocabulary" in capfd.readouterr().err


def test_a_run_of_sentences_is_no_folder_of_pictures(
    whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for out in ("folder", "sheet.png"):
        capfd.readouterr()
        assert main(["sample", str(whole), "--out", str(tmp_path / out)]) == 2
        assert "--out" in capfd.readouterr().err


def test_a_new_process_evaluates_a_run_whose_task_has_players_of_its_own(whole: Path, tmp_path: Path) -> None:
    """The groups of their optimizers are added while the registry is loaded, which a saved config does not do first."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = ["evaluate", str(whole), "--device", "cpu", "--metrics", "distinct2"]
    done = subprocess.run(
        [sys.executable, "-m", "gan_lab", *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "distinct2" in done.stdout
