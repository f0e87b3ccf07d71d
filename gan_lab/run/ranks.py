"""The ranks of one run, processes that share each batch: how they join, what they tell each other, and how they end.

Tensors travel through torch.distributed. Everything else goes through a store, a small server of keys: who is there,
what rank 0 has decided, and why a rank has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from gan_lab.core.hooks import Every, Hook, Log
from gan_lab.core.loop import Game
from gan_lab.core.ranks import difference, share
from gan_lab.core.runtime import LostContact, contact
from gan_lab.run.place import Place, address
from gan_lab.run.signals import Signals

JOIN_SECONDS = 300.0  # for the processes of all machines to be started
GRACE_SECONDS = 3.0  # for the others to say why they end, after contact was lost
BEATS, BEAT_SECONDS = 5, 1.0  # signs of life in trainer.timeout seconds, and the longest time between two
POLL = 0.02
STORE = "the ranks' store does not answer: "
DONE, SILENT = "done", "lost contact"  # why a rank ends: nothing is left to do; or others have ended


class Ranks:
    """This process among a run's. Alone, every method is a no-op."""

    def __init__(self, at: Place | None = None, timeout: float = 300.0) -> None:
        """Connect with rank 0's store, or open it. Raises ValueError where that is not possible."""
        self.place, self.timeout = at or Place(), timeout
        self.alone = self.place.world == 1
        self._meetings = self._asked = 0
        self._closed = threading.Event()
        if not self.alone:
            self.store = self._connected()
            threading.Thread(target=self._beat, daemon=True).start()

    def _connected(self) -> distributed.Store:
        # torchrun, and our own parent process, have a store that outlives rank 0.
        theirs = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        host, port = address()
        hosting = self.place.rank == 0 and not theirs
        try:
            store = distributed.TCPStore(
                host, port, None, hosting, timedelta(seconds=JOIN_SECONDS), wait_for_workers=False
            )
        except RuntimeError as error:
            if "EADDRINUSE" in str(error):
                raise ValueError(f"MASTER_PORT={port} is in use; give another") from error
            raise ValueError(f"there is no rank 0 at {host}:{port}: {str(error).splitlines()[0]}") from error
        return distributed.PrefixStore(f"gan_lab/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)

    # -- the store ---------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        """Signs of life, for ranks that wait long for this one. A process that is stopped gives none."""
        count = 0
        with contextlib.suppress(RuntimeError):  # the store has gone
            while not self._closed.wait(min(self.timeout / BEATS, BEAT_SECONDS)):
                count += 1
                self.store.set(f"beat/{self.place.rank}", str(count))

    def write(self, key: str, value: str) -> None:
        with contact(STORE):
            self.store.set(key, value)

    def read(self, key: str) -> str | None:
        """The value of a key, or None where nobody has set it."""
        with contact(STORE):
            return self.store.get(key).decode() if self.store.check([key]) else None

    def wait(self, key: str, rank: int) -> str:
        """The value of a key that another rank will set. It may take as long as it gives signs of life.

        Raises LostContact where it has ended or gives none.
        """
        beat, since = None, time.monotonic()
        pause = POLL / 40
        while (value := self.read(key)) is None:
            if self.reason(rank) is not None:
                raise LostContact(f"rank {rank} has ended")
            now = self.read(f"beat/{rank}")
            if now != beat:
                beat, since = now, time.monotonic()
            elif time.monotonic() - since > (self.timeout if beat else JOIN_SECONDS):
                raise LostContact(f"rank {rank} gives no sign of life")
            time.sleep(pause)
            pause = min(pause * 2, POLL)
        return value

    # -- begin -------------------------------------------------------------------------------------------------------

    def join(self, about: Mapping[str, str], device: torch.device, orders: Any = None) -> Any:
        """Join the others once all are there and agree in `about`. Returns rank 0's `orders`.

        Raises ValueError, on rank 0 with the reason, where they do not agree or one of them cannot start.
        """
        if self.alone:
            return orders
        if self.place.rank:
            self.write(f"hello/{self.place.rank}", json.dumps(dict(about)))
            try:
                orders = json.loads(self.wait("orders", 0))
            except LostContact as error:
                raise ValueError(f"rank 0 does not start: {error}") from error
        else:
            self._check(about)
            self.write("orders", json.dumps(orders))
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            store=distributed.PrefixStore("group", self.store), rank=self.place.rank, world_size=self.place.world,
            timeout=timedelta(seconds=self.timeout),
        )  # fmt: skip
        return orders

    def _check(self, about: Mapping[str, str]) -> None:
        for rank in range(1, self.place.world):
            try:
                theirs = json.loads(self.wait(f"hello/{rank}", rank))
            except LostContact as error:
                raise ValueError(f"rank {rank} does not start: {self.reason(rank) or error}") from error
            for what, value in about.items():
                if theirs.get(what) != value:
                    raise ValueError(f"rank {rank} has another {what} than rank 0: give all ranks the same")

    def begin(self, game: Game, log: Log) -> None:
        """Give every rank rank 0's state, and what its log remembers."""
        if not self.alone:
            self.meet()
            share(game)
            log.recall(game.runtime.share(log.memory), game.runtime.device)

    # -- while it trains ---------------------------------------------------------------------------------------------

    def agree(self, game: Game, signals: Signals) -> bool:
        """Whether to leave the loop. A signal to one rank is a signal to all, at the end of the same step."""
        if not self.alone:
            received, save = game.runtime.maximum(signals.received or 0, int(signals.save))
            signals.received, signals.save = received or None, bool(save)
        return signals.received is not None or signals.save

    def meet(self) -> None:
        """Wait for rank 0, which works alone: it scores, draws, saves. This takes as long as it takes.

        Raises LostContact where rank 0 has ended.
        """
        if self.alone:
            return
        self._meetings += 1
        if self.place.rank:
            self.wait(f"meeting/{self._meetings}", 0)
        else:
            self.write(f"meeting/{self._meetings}", "on")
            with contact(STORE):
                self.store.delete_key(f"meeting/{self._meetings - 2}")

    def ask(self, images: int, scores: Mapping[str, float | None]) -> str | None:
        """Report scores to the process that has started this one. Returns its reason to prune, or None."""
        self._asked += 1
        self.write(f"report/{self._asked}", json.dumps({"images": images, "scores": dict(scores)}))
        while (answer := self.read(f"answer/{self._asked}")) is None:
            time.sleep(POLL)
        return answer or None

    # -- end ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave. The others, if they still are there, need this rank no more."""
        self.end("failed")
        if not self.alone and distributed.is_initialized():
            distributed.destroy_process_group()

    def reason(self, rank: int) -> str | None:
        """Why a rank has ended, or None while nothing is known of its end."""
        return self.read(f"end/{rank}") or self.read(f"killed/{rank}")

    def end(self, reason: str = DONE) -> None:
        """Tell the others that this rank ends, and why."""
        if not self.alone and not self._closed.is_set():
            self._closed.set()
            with contextlib.suppress(LostContact):
                self.write(f"end/{self.place.rank}", reason)

    def roll_call(self, error: BaseException) -> str:
        """After contact was lost: which rank is the cause, in words."""
        self.end(SILENT)
        others = {*range(self.place.world)} - {self.place.rank}
        reasons: dict[int, str | None] = {}
        with contextlib.suppress(LostContact):
            deadline = time.monotonic() + GRACE_SECONDS
            while time.monotonic() < deadline and len(reasons) < len(others):
                reasons |= {rank: why for rank in others if (why := self.reason(rank))}
                time.sleep(POLL)
        for rank, why in sorted(reasons.items()):
            if why != SILENT:
                return f"rank {rank} {why}"
        if missing := others - reasons.keys():
            names = " and ".join(map(str, sorted(missing)))
            return f"rank {names} did not answer for {self.timeout:g} seconds (trainer.timeout), or was killed"
        return f"the ranks lost contact: {error}"

    def speaks(self) -> bool:
        """Whether this rank tells the user why all end: the first that is left."""
        earlier = range(self.place.rank)
        with contextlib.suppress(LostContact):
            deadline = time.monotonic() + GRACE_SECONDS
            while time.monotonic() < deadline and not all(map(self.reason, earlier)):
                time.sleep(POLL)
            return not any(self.read(f"end/{rank}") for rank in earlier)
        return self.place.rank == 1


class Meeting(Hook):
    """The last hook of each rank. Where rank 0 has worked alone, the others wait, and all compare their states."""

    def __init__(self, ranks: Ranks, periods: Sequence[int]) -> None:
        self.ranks, self.periods = ranks, [Every(period) for period in periods]

    def after_step(self, game: Game) -> None:
        if any(period.due(game) for period in self.periods):
            self.ranks.meet()
            if where := difference(game):
                raise Differing(
                    f"the ranks' states are no longer equal ({where}): a part moves it by the rows of one rank"
                )


class Differing(RuntimeError):
    """A rank's state is not rank 0's."""
