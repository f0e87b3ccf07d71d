"""Scores of a run of several processes: all make samples and extract features, and rank 0 measures.

Rank 0 says in the store what is to be made, and the others make their part. Then, in turns, each has a batch. So rank 0
sees the batches that one process would make, in their order.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Iterator
from typing import Any

import torch
from torch import Tensor, distributed, nn

from gan_lab.core.runtime import LostContact, contact, inference
from gan_lab.metrics.evaluator import Example, NotFinite
from gan_lab.run.assembly import Assembly
from gan_lab.tasks.contract import divided

MADE, NOT_FINITE, STOPPED = range(3)  # what a rank says with the number of its rows


class SharedScoring:
    """What the ranks of a run say and send each other for its scores. Alone, rank 0 makes all itself."""

    def __init__(self, assembly: Assembly) -> None:
        self.assembly, self.ranks, self.runtime = assembly, assembly.ranks, assembly.game.runtime
        self._said = 0

    def examples(self, nets: nn.ModuleDict, num: int, seed: int) -> Iterator[Example]:
        """On rank 0: its examples, once the others know that they are to make theirs."""
        self._say({"num": num, "seed": seed})
        return self._made(nets, num, seed)

    def _made(self, nets: nn.ModuleDict, num: int, seed: int) -> Iterator[Example]:
        task: Any = self.assembly.game.task
        examples: Iterator[Example] = task.examples(nets, num, seed, self.assembly.example_data)
        return examples

    @contextlib.contextmanager
    def led(self) -> Iterator[None]:
        """On rank 0: a context for a score, in which the evaluator gets the batches of all ranks."""
        if self.ranks.alone:
            yield
            return
        evaluator = self.assembly.evaluator
        alone, evaluator.gathered = evaluator.gathered, self.gathered
        try:
            yield
        finally:
            evaluator.gathered = alone
            self._say(None)

    def follow(self) -> None:
        """On another rank: make its part of all that rank 0 needs for a score."""
        evaluation = self.assembly.evaluation
        task: Any = self.assembly.game.task
        with inference(self.assembly.sampled_nets, evaluation.batch_norm, task.warm) as nets:
            while (order := self._heard()) is not None:
                for _ in self.gathered(self.assembly.evaluator.prepared(self._made(nets, **order))):
                    pass

    def _say(self, order: dict[str, int] | None) -> None:
        if not self.ranks.alone:
            self._said += 1
            self.ranks.write(f"scoring/{self._said}", json.dumps(order))

    def _heard(self) -> Any:
        self._said += 1
        return json.loads(self.ranks.wait(f"scoring/{self._said}", 0))

    def gathered(self, own: Generator[Example]) -> Generator[Example]:
        """On rank 0, the batches of all ranks in turn; on others nothing. All ranks call it, each with its own batches.

        Whoever fails, or wants no more, ends it for all. Raises NotFinite where a rank has met that.
        """
        going, states = True, [MADE]
        with divided(self.runtime.rank, self.runtime.world) as division:
            try:
                while going:
                    batch, state = _next(own)
                    if self.runtime.rank and not division.used:  # the task does not divide: rank 0 makes all
                        batch = None
                    rows, states = self._announced(batch, state)
                    going = max(states) == MADE and any(rows)
                    if going:
                        yield from self._received(batch, rows)
            except LostContact:
                going = False
                raise
            finally:
                if going:  # whatever has ended this, others must not wait
                    self._announced(None, STOPPED)
        if self.runtime.rank == 0 and NOT_FINITE in states:
            raise NotFinite("some samples are not finite")
        if self.runtime.rank == 0 and STOPPED in states:
            raise LostContact(f"rank {states.index(STOPPED)} could not make its samples")

    def _announced(self, batch: Example | None, state: int) -> tuple[list[int], list[int]]:
        """The rows that each rank has made, and how it stands."""
        own = torch.tensor([[0 if batch is None else len(batch["sample"]), state]])
        rows, states = self.runtime.gather(own).T.tolist()
        return rows, states

    def _received(self, batch: Example | None, rows: list[int]) -> Generator[Example]:
        """On rank 0, a turn's batches; another rank sends its one."""
        rank = self.runtime.rank
        if rank:
            for name in sorted(batch or ()):
                with contact():
                    distributed.send(_bytes(batch[name]), 0)  # type: ignore[index]
            return
        assert batch is not None  # the first rank is the last to run out of batches
        received = []
        for other in range(1, len(rows)):
            if rows[other]:
                empty = {name: batch[name].new_empty(rows[other], *batch[name].shape[1:]) for name in sorted(batch)}
                for column in empty.values():
                    with contact():
                        distributed.recv(_bytes(column), other)
                received.append(empty)
        yield batch
        yield from received


def _next(own: Iterator[Example]) -> tuple[Example | None, int]:
    """A rank's next batch, None after the last one, and how it stands."""
    try:
        return next(own, None), MADE
    except NotFinite:
        return None, NOT_FINITE


def _bytes(column: Tensor) -> Tensor:
    """The memory of a contiguous column."""
    return column.contiguous().view(-1).view(torch.uint8)
