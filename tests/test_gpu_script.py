"""The GPU script as far as a CPU goes: its plain loops are the same algorithms, and nothing but its time ends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_lab.core.loop import Game, step
from gan_lab.tasks.generation import GenerationPass
from tests.benchmarks.pairs import Losses
from tests.gpu import networks, running, steps, waits
from tests.gpu.__main__ import SECTIONS
from tests.gpu.marked import files
from tests.gpu.plain_loop import NetworkLoop
from tests.gpu.quality import scores
from tests.gpu.rows import Row, Setting, table

ROOT = Path(__file__).parents[1]
OPTIONS = running.Options(tiny=True, data=None, log=Path(os.devnull))


# -- a section's process -----------------------------------------------------------------------------------------------


def good(setting: Setting) -> Iterator[Row]:
    yield Row("speed", {"GB/s": 2.0})
    yield Row("twice", {"x": 2 * (setting.figure("first", "speed", "GB/s") or 0.0)})


def hanging(setting: Setting) -> Iterator[Row]:
    yield Row("before", {"s left": setting.left()})
    time.sleep(60)


def failing(setting: Setting) -> Iterator[Row]:
    yield Row("before")
    raise RuntimeError("CUDA error: an illegal memory access\nwas encountered")


def dying(setting: Setting) -> Iterator[Row]:
    yield Row("before")
    os._exit(11)


def rows_of(function: str, left: float = 60.0, found: tuple[Row, ...] = (), **more: Any) -> list[Row]:
    section = running.Section("first", 60.0, __name__, function, **{"package": False, **more})
    return list(running.run(section, OPTIONS, left, found))


def test_a_section_sees_what_was_found_before() -> None:
    first = rows_of("good")
    assert [(row.section, row.state) for row in first] == [("first", "ok")] * 2
    assert rows_of("good", found=tuple(first))[1].figures == {"x": 4.0}


def test_a_section_that_hangs_is_stopped_and_its_rows_are_kept() -> None:
    begin = time.monotonic()
    before, rest = rows_of("hanging", left=4.0)
    assert time.monotonic() - begin < 20
    assert 0 < before.figures["s left"] <= 4
    assert (rest.state, rest.note) == ("skipped", "stopped: the 4 s that it had are used up")


@pytest.mark.parametrize(("function", "note"), [("failing", "RuntimeError: CUDA error"), ("dying", "ended without")])
def test_a_section_that_breaks_is_a_row(function: str, note: str) -> None:
    before, broken = rows_of(function)
    assert before.state == "ok"
    assert broken.state == "error"
    assert broken.note.startswith(note)


def test_a_section_without_time_is_not_begun() -> None:
    (row,) = rows_of("hanging", left=1.0)
    assert (row.state, row.note) == ("skipped", "the script's time is used up")


def test_a_section_is_forked_from_a_process_that_never_asked_for_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA does not work in a process that is forked from one that has begun to use it, be it only to count cards."""
    asked = []
    count = torch._C._cuda_getDeviceCount
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", lambda: asked.append(os.getpid()) or count())
    running.has_card.cache_clear()
    section = running.Section("first", 60.0, __name__, "good", package=False)
    assert len(list(running.run(section, running.Options(None, None, Path(os.devnull)), 60.0, ()))) == 2
    assert not asked, "here; the process that asks has a copy of this list"


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "missing", lambda: ["hydra-core", "omegaconf"])
    (row,) = rows_of("good", package=True)
    assert (row.state, row.note) == ("skipped", "needs hydra-core, omegaconf, not installed here")
    assert rows_of("good")[0].state == "ok", "what needs torch alone runs"


def test_without_the_packages_that_a_bare_machine_lacks_the_card_and_its_limits_are_measured(tmp_path: Path) -> None:
    """In a process that cannot import them. So nothing that these sections need may import them."""
    program = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"hydra", "omegaconf", "antlr4", "wandb", "torch_fidelity", "rich"}}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
import importlib.util
find = importlib.util.find_spec
def found(name):
    try:
        return find(name)
    except ModuleNotFoundError:
        return None
importlib.util.find_spec = found
from tests.gpu.__main__ import main
sys.exit(main(["card", "limits", "waits", "--tiny", "--json", {str(tmp_path / "gpu.json")!r}]))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "missing packages: hydra-core, omegaconf, antlr4-python3-runtime, rich" in done.stderr
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert {row["section"] for row in rows if row["state"] == "ok"} == {"card", "limits"}
    (waiting,) = (row for row in rows if row["section"] == "waits")
    assert waiting["note"].startswith("needs hydra-core")


# -- what is measured --------------------------------------------------------------------------------------------------


def losses_of(game: Game, loop: NetworkLoop) -> tuple[list[float], list[float]]:
    """Both sides' losses of D and G in the game's next step, on the same batches and noise."""
    seen = Losses()
    game.hooks.append(seen)
    main = {phase.player: phase for phase in game.phases if "adversarial" in phase.terms}
    critic = main["discriminator"]
    passes = [GenerationPass(game, critic, turn, slice(0, game.batch_size)) for turn in range(critic.repeat)]
    last = GenerationPass(game, main["generator"], 0, slice(0, game.batch_size))
    reals = torch.stack([forward.real.detach() for forward in passes])
    noise = torch.stack([forward.latent for forward in (*passes, last)])
    theirs = loop.step(reals, noise)
    step(game)
    game.hooks.remove(seen)
    return seen.seen[-2:], list(theirs)


@pytest.mark.parametrize("name", ["sngan", "stylegan2", "r3gan"])
def test_the_plain_loop_of_a_network_is_the_same_algorithm(name: str) -> None:
    torch.manual_seed(0)
    game = networks.built(name, True, "cpu").game
    for optimizer in game.optimizers.values():
        optimizer.param_groups[0]["eps"] = 1e-3  # or rounding flips Adam's first updates, which are signs
    loop = NetworkLoop(game, networks.NETWORKS[name].loss or "")
    for _ in range(2):
        ours, theirs = losses_of(game, loop)
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4), name
    for mine, other in zip(game.nets["discriminator"].parameters(), loop.net_d.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-3)


def test_traffic_is_what_operators_read_and_write() -> None:
    x, y = torch.ones(10), torch.ones(10)
    with steps.Traffic() as traffic:
        z = x + y  # reads two, writes one
        z.view(2, 5)  # moves nothing
        torch._foreach_add([x, y], [y, z])
    assert traffic.total == 4 * 10 * (3 + 6)


def test_a_compiled_game_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a backend that compiles in no time: inductor takes a CPU a minute."""
    compile, calls = torch.compile, []

    def quick(net: Any, **options: Any) -> Any:
        calls.append(options)
        return compile(net, backend="eager")

    monkeypatch.setattr(torch, "compile", quick)
    monkeypatch.setattr(steps, "NETWORKS", {"dcgan": networks.NETWORKS["dcgan"]})
    monkeypatch.setattr(steps, "PRECISIONS", ("fp32",))
    (row,) = steps.compiled(Setting(tiny=True, card=True, left=lambda: 100.0))
    assert row.state == "ok", row.note
    assert len(calls) == 2
    assert {"ms/step", "images/s", "x as fast", "s until compiled"} <= set(row.figures)
    (row,) = steps.compiled(Setting(tiny=True, card=True, left=lambda: 10.0))
    assert (row.state, row.note) == ("skipped", "less than 20 s left to compile it in")


def test_a_value_that_is_asked_for_between_log_points_is_counted() -> None:
    words = "experiment=ring", "evaluation.metrics=[]", "regularizer=[]", *waits.TINY
    assembly = waits.build(*words, log_every=1_000_000)
    found, steps = waits.waits(assembly, 3)
    assert (found.total(), steps) == (0, 3)
    assembly = waits.build(*words, log_every=1_000_000)
    game, update = assembly.game, assembly.game.update

    def looking(player: str, norm: torch.Tensor) -> torch.Tensor:
        norm.item()
        return update(player, norm)

    game.update = looking  # type: ignore[method-assign]
    found, steps = waits.waits(assembly, 3)
    assert found == {"aten::_local_scalar_dense": 6}, "one a move"


def test_seconds_of_training_leave_scoring_out() -> None:
    records = [
        {"images": 100, "performance/images_per_second": 50.0, "seconds": 2.0},
        {"images": 100, "selection/fd/small-1/train": 9.0, "seconds": 7.0},
        {"images": 300, "performance/images_per_second": 100.0, "seconds": 9.0},
        {"images": 300, "selection/fd/small-1/train": 3.0, "seconds": 15.0},
    ]
    assert scores(records) == [(2.0, 9.0), (4.0, 3.0)]


def test_pytest_finds_the_tests_that_need_cuda() -> None:
    assert {"test_parts.py", "test_speed.py", "test_evaluator.py"} <= {path.name for path in files()}


def test_the_table_wraps_long_notes() -> None:
    lines = table([Row("a row", {"GB": 1234.5, "x": 0.1234}, "word " * 40, section="limits")]).splitlines()
    assert lines[2].startswith("limits   a row  ok     0.0      1,234 GB, 0.123 x; word word")
    assert len(lines) == 5
    assert max(map(len, lines)) <= 135


@pytest.mark.slow
def test_the_script_runs_to_its_end_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.gpu", "--json", str(out), "--log", str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    log = (tmp_path / "log").read_text()
    assert done.returncode == 0, (done.stdout, log)
    rows = json.loads(out.read_text())["rows"]
    assert {row["section"] for row in rows} == {section.name for section in SECTIONS}
    by_section = {name: [row for row in rows if row["section"] == name] for name in {row["section"] for row in rows}}
    assert all(row["figures"]["waits"] == 0 for row in by_section["waits"])
    assert all("equal bits" in row["note"] for row in by_section["resume"])
    assert all(row["figures"]["ms/step"] > 0 for row in by_section["steps"] if row["state"] == "ok")
    assert all(row["state"] == "skipped" for row in by_section["compiled"])
    assert done.stdout.splitlines()[-1].startswith(f"{len(rows)} rows in")
