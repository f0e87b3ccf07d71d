"""Which of a run's processes this one is, by the variables that torchrun, srun, submitit or `run/launch.py` set."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from gan_lab.config.sections import Trainer

PORTS = range(20_000, 30_000)  # of jobs, by their number: below those that systems give to whoever asks for any
LOOPBACK = "127.0.0.1"
LAUNCHERS = (  # the variables of rank, world and local rank
    ("RANK", "WORLD_SIZE", "LOCAL_RANK"),  # torchrun, and our own launchers
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),  # srun
    ("SUBMITIT_LOCAL_GLOBALID", "SUBMITIT_LOCAL_NTASKS", "SUBMITIT_LOCAL_LOCALID"),  # submitit without Slurm
)


@dataclass(frozen=True)
class Place:
    """Which of a run's processes this one is: `rank` of `world`, and `local` of those on this machine."""

    rank: int = 0
    world: int = 1
    local: int = 0


def place() -> Place:
    """This process's place, from the variables that its launcher set. Raises ValueError for wrong ones."""
    names = next((names for names in LAUNCHERS if all(name in os.environ for name in names[:2])), None)
    if names is None:
        return Place()
    rank, world, local = (_number(name, os.environ.get(name, "0")) for name in names)
    if world == 1:
        return Place()
    if not rank < world:
        raise ValueError(f"{names[0]}={rank}: of {names[1]}={world} processes, the last has {world - 1}")
    return Place(rank, world, local)


def _number(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{name}={text}: torchrun and srun set a number here; unset it to train in one process")
    return int(text)


def address() -> tuple[str, int]:
    """Where the store is. Raises ValueError where no variable says so."""
    if address := os.environ.get("MASTER_ADDR"):
        return address, _number("MASTER_PORT", os.environ.get("MASTER_PORT", "29500"))
    if nodes := os.environ.get("SLURM_STEP_NODELIST"):  # such as gpu[03-04,07],big1
        first = re.match(r"([^,\[]+)(?:\[(\w+))?", nodes)
        job = _number("SLURM_JOB_ID", os.environ.get("SLURM_JOB_ID", "0"))
        if first:
            return "".join(part or "" for part in first.groups()), PORTS[job % len(PORTS)]
    if number := os.environ.get("SUBMITIT_LOCAL_JOB_ID"):
        return LOOPBACK, PORTS[_number("SUBMITIT_LOCAL_JOB_ID", number) % len(PORTS)]
    raise ValueError("RANK and WORLD_SIZE are set, and MASTER_ADDR is not: start it by torchrun or srun, or unset them")


def free_port(first: int) -> int:
    """A port on which nobody listens: of `PORTS`, from the one of this number on."""
    for i in range(len(PORTS)):
        port = PORTS[(first + i) % len(PORTS)]
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("", port))
            return port
    raise ValueError(f"all ports from {PORTS[0]} to {PORTS[-1]} are in use")


def starts_others(trainer: Trainer) -> bool:
    """Whether this process does not train itself, but starts the processes that do."""
    return trainer.processes > 1 and place().world == 1


def device_of(trainer: Trainer) -> torch.device:
    """The device of this process. Raises ValueError where the machine has no card for each process.

    One that only starts others checks on the CPU what they will do, and leaves the cards to them.
    """
    import torch

    from gan_lab.core.runtime import choose_device

    device, at = choose_device(trainer.device), place()
    if at.world == trainer.processes == 1 or device.type == "cpu":
        return device
    if device.type != "cuda" or device.index is not None:
        raise ValueError(
            f"trainer.device={trainer.device}: several processes take a card each, so give trainer.device=cuda or cpu"
        )
    cards, wanted = torch.cuda.device_count(), trainer.processes if at.world == 1 else at.local + 1
    if wanted > cards:
        raise ValueError(
            f"{wanted} processes, and this machine has {cards} cards: give each a card, or trainer.device=cpu"
        )
    if at.world == 1:
        return torch.device("cpu")
    torch.cuda.set_device(at.local)
    return torch.device("cuda", at.local)
