"""What a run's process does to itself before it begins: signals, gradients, files and operations that fail."""

from __future__ import annotations

import io
import os
import resource
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot  # noqa: F401  # here and below: what every run would import again
import torch
import torch._inductor

import tests.toy_data  # noqa: F401
from gan_lab import registry  # noqa: F401
from gan_lab.commands import train  # noqa: F401
from gan_lab.core import loop
from gan_lab.run.start import run  # noqa: F401
from tests.faults.lab import Fault, Progress


def in_step(step: int, action: Callable[[Any], object], player: str = "discriminator") -> Fault:
    """Do something in the middle of a step: behind the backward pass, before the player's update."""

    def install(_: Progress) -> None:
        update = loop.Game.update

        def broken(game: loop.Game, mover: str, norm: Any) -> Any:
            if game.step == step and mover == player:
                action(game)
            return update(game, mover, norm)

        loop.Game.update = broken

    return install


def before_step(action: Callable[[Any], object]) -> Fault:
    """Do something before every step; the action looks at the game."""

    def install(_: Progress) -> None:
        step = loop.step

        def broken(game: Any) -> None:
            action(game)
            step(game)

        loop.step = broken

    return install


def send(*numbers: int) -> Callable[[Any], None]:
    def action(_: Any) -> None:
        for number in numbers:
            os.kill(os.getpid(), number)

    return action


def gradients(change: Callable[[torch.Tensor, Any], None], player: str = "discriminator") -> Fault:
    """Change a player's gradients in place before they are measured; the change looks at the game."""

    def install(_: Progress) -> None:
        play = loop.play

        def broken(game: Any, phase: Any, *more: Any) -> Any:
            average = game.runtime.average

            def changed(gradients: Sequence[torch.Tensor]) -> None:
                average(gradients)
                if phase.player == player:
                    for gradient in gradients:
                        change(gradient, game)

            game.runtime.average = changed
            try:
                return play(game, phase, *more)
            finally:
                del game.runtime.average

        loop.play = broken

    return install


def file_limit(size: int | Path, first: int, last: int | None = None) -> Fault:
    """No file may grow beyond so many bytes, or beyond what a file has by then, from one number of images to another:
    a disk that is full, for a while.
    """

    def set_limit(game: Any) -> None:
        full = game.images >= first and (last is None or game.images < last)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if full and soft == hard:
            soft = size.stat().st_size if isinstance(size, Path) else size
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if full else hard, hard))

    return before_step(set_limit)


class Operations:
    """Counts what a process does to its disk, and kills it before the n-th, or halfway through it where it is a write.

    Writes are those of files opened in Python, each where its bytes leave for the system.
    """

    def __init__(self, begin: int, end: int, at: int | None = None, half: bool = False) -> None:
        self.begin, self.end, self.at, self.half = begin, end, at, half  # counted between these numbers of images

    def __call__(self, progress: Progress) -> None:
        def strike(write: Callable[[], object] | None = None) -> None:
            if not self.begin <= progress.images < self.end:
                return
            progress.operations += 1
            if progress.operations - 1 == self.at:
                if write is not None and self.half:
                    write()
                os.kill(os.getpid(), signal.SIGKILL)

        for name in ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir"):
            setattr(os, name, _before(strike, getattr(os, name)))

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                view = memoryview(data).cast("B")
                strike(lambda: super(Raw, self).write(view[: len(view) // 2]))
                return super().write(view)

        opened = io.open

        def open_counted(
            file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None, errors: str | None = None,
            newline: str | None = None, **more: Any,
        ) -> Any:  # fmt: skip
            if not set(mode) & set("wax"):
                return opened(file, mode, buffering, encoding, errors, newline, **more)
            raw: Any = Raw(file, mode.replace("b", "").replace("t", ""))
            binary = raw if buffering == 0 else io.BufferedWriter(raw)
            return binary if "b" in mode else io.TextIOWrapper(binary, encoding or "utf-8", errors, newline)

        io.open = open_counted


def _before(strike: Callable[[], None], call: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*arguments: Any, **named: Any) -> Any:
        strike()
        return call(*arguments, **named)

    return counted
