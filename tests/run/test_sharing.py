"""Ranks that share a score: rank 0 gets the batches of all in the order of one process, or all end together."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import distributed

from gan_lab.core.runtime import LostContact, Runtime
from gan_lab.metrics.evaluator import Example, NotFinite
from gan_lab.metrics.reference import BATCH
from gan_lab.run.sharing import SharedScoring
from gan_lab.tasks.contract import CHUNK, TOGETHER, own_chunks
from tests.run.test_ranks import ROOT, TINY

FORK = multiprocessing.get_context("fork")  # a fresh process would import torch for seconds


def test_a_turn_is_a_batch_of_the_extractor() -> None:
    assert TOGETHER * CHUNK == BATCH


def batches(rank: int, count: int, fault: str) -> Generator[Example]:
    """Of one rank, by the numbers of all batches: `fault` befalls rank 1 in its second one."""
    chunks = range(count * TOGETHER) if fault == "undivided" else own_chunks(range(count * TOGETHER))
    for chunk in chunks:
        if chunk % TOGETHER:
            continue
        number = chunk // TOGETHER
        if rank == 1 and number == 4:
            if fault == "not finite":
                raise NotFinite("here")
            if fault == "fails":
                raise RuntimeError("planted")
        sample = torch.full((2 if number < count - 1 else 1, 3), number, dtype=torch.uint8)
        yield {"sample": sample, "label": torch.full((len(sample),), number), "flag": sample[:, 0] > 2}


def rank_of(rank: int, world: int, folder: Path, count: int, fault: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    runtime = Runtime(rank=rank, world=world)
    assembly: Any = SimpleNamespace(ranks=None, game=SimpleNamespace(runtime=runtime))
    seen, error = [], ""
    gathered = SharedScoring(assembly).gathered(batches(rank, count, fault))
    try:
        for batch in gathered:
            seen.append({name: column.tolist() for name, column in batch.items()})
            if fault == "enough" and len(seen) == 2:
                gathered.close()
                break
    except (NotFinite, LostContact, RuntimeError) as raised:
        error = f"{type(raised).__name__}: {raised}"
    after = runtime.maximum(rank)  # none waits in another exchange
    (folder / f"{rank}.json").write_text(json.dumps([seen, error, after]))
    distributed.destroy_process_group()


def outcome(folder: Path, count: int, fault: str = "", world: int = 3) -> list[Any]:
    processes = [FORK.Process(target=rank_of, args=(rank, world, folder, count, fault)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    found = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]
    assert [after for _, _, after in found] == [[world - 1]] * world
    assert all(seen == [] for seen, _, _ in found[1:])
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("fault", ["", "undivided"])
def test_rank_0_gets_all_batches_in_order(tmp_path: Path, count: int, fault: str) -> None:
    (seen, error, _), *others = outcome(tmp_path, count, fault)
    assert error == ""
    assert [batch["label"] for batch in seen] == [[i, i] for i in range(count - 1)] + [[count - 1]]
    assert [batch["sample"][0] for batch in seen] == [[i] * 3 for i in range(count)]
    assert [batch["flag"][0] for batch in seen] == [i > 2 for i in range(count)]
    assert [error for _, error, _ in others] == ["", ""]


@pytest.mark.parametrize(
    ("fault", "errors"),
    [
        ("not finite", ["NotFinite: some samples are not finite", "", ""]),
        ("fails", ["LostContact: rank 1 could not make its samples", "RuntimeError: planted", ""]),
        ("enough", ["", "", ""]),
    ],
)
def test_what_ends_one_rank_ends_the_score_of_all_and_no_rank_waits(
    tmp_path: Path, fault: str, errors: list[str]
) -> None:
    found = outcome(tmp_path, 7, fault)
    assert [error for _, error, _ in found] == errors
    assert len(found[0][0]) == (2 if fault == "enough" else 3)


SCORED = [
    "dataset=mnist5k", "generator.width=8", "discriminator.width=8", "trainer.images=400", "evaluation.every=400",
    "evaluation.metrics=[fd,precision,class_histogram]", "evaluation.samples=700", "evaluation.selection_samples=300",
    "evaluation.noise_seeds=2",
]  # fmt: skip


def scored(run: Path) -> dict[str, float]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())["metrics"]
    return {name: entry["value"] for name, entry in found.items()}


@pytest.mark.slow
def test_scores_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    """Of the same weights: a run that is trained and not scored yet goes on with two processes."""

    def run(name: str, *more: str) -> None:
        words = [word for word in TINY if not word.startswith(("dataset=", "evaluation."))]
        command = [sys.executable, "-m", "gan_lab", "train", *words, *SCORED, f"run_dir={name}", *more]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    run("one")
    expected = scored(tmp_path / "one")
    assert len(expected) >= 2
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    summary = json.loads((tmp_path / "two/summary.json").read_text())
    (tmp_path / "two/summary.json").write_text(json.dumps(summary | {"status": "interrupted", "metrics": {}}))
    run("two", "trainer.processes=2")
    assert scored(tmp_path / "two") == pytest.approx(expected, rel=1e-6)
    run("two", "trainer.processes=2", "trainer.images=800")
    selected = [json.loads(line) for line in (tmp_path / "two/metrics.jsonl").read_text().splitlines()]
    assert {record["images"] for record in selected if any("selection" in name for name in record)} == {400, 800}
