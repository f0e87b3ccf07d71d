"""How often the host waits for the card between two log points, counted by torch's profiler: never, it should be."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from gan_lab.core.loop import step
from gan_lab.core.runtime import Runtime
from gan_lab.datasets import store
from gan_lab.run.assembly import Assembly
from gan_lab.run.health import Health
from tests.benchmarks.measure import build
from tests.gpu.card import device, wait
from tests.gpu.networks import NETWORKS, SOON, TINY, built, period
from tests.gpu.rows import Row, Setting

# A value that is asked for, a copy to the host, and calls in which the host waits until the card has done its work.
WAITS = (
    "aten::_local_scalar_dense", "Memcpy DtoH", "cudaStreamSynchronize", "cudaDeviceSynchronize",
    "cudaEventSynchronize", "cudaMemcpy", "cudaFree",
)  # fmt: skip
WINDOW = "gan_lab/between log points"  # the span that is looked at
LEAST, TINY_LEAST = 4, 1  # steps in it: torch takes a second for 20,000 events
OTHERS = {
    "ring, with R1 and average": ("experiment=ring", "evaluation.metrics=[]"),
    "R1 every other step, DiffAugment": (
        "experiment=dcgan_mnist5k", "dataset=toy_pictures", "evaluation.metrics=[]", "regularizer=[r1]",
        "regularizer.r1.every=2", "augment=diffaugment",
    ),
}  # fmt: skip


def measure(setting: Setting) -> Iterator[Row]:
    where = str(device())
    for name in (name for name, network in NETWORKS.items() if network.registered):
        if name == "dcgan" or not setting.tiny:
            yield _row(name, built(name, setting.tiny, where, *(SOON if name == "stylegan2" else ())), setting.tiny)
    for name, words in OTHERS.items():
        small = TINY if setting.tiny else ()
        yield _row(name, build(*words, *small, log_every=1_000_000_000, device=where), setting.tiny)
    with patch.object(store, "DEVICE_SHARE", 0.0):
        yield _row("dcgan, data in the host's memory", built("dcgan", setting.tiny, where), setting.tiny)


def _row(name: str, assembly: Assembly, tiny: bool) -> Row:
    found, steps = waits(assembly, TINY_LEAST if tiny else LEAST)
    told = ", ".join(f"{count} {what}" for what, count in found.items())
    figures = {"waits": float(found.total()), "steps": float(steps)}
    return Row(name, figures, told, "FAILED" if found else "ok")


def waits(assembly: Assembly, least: int) -> tuple[Counter[str], int]:
    """What made the host wait, by name, and in how many steps, at least `least`.

    A value that is asked for counts more than once: the question, the copy to the host and the wait for it. On a CPU,
    values that are asked for are what would be waits on a card.
    """
    game, every = assembly.game, period(assembly)
    game.add(Health(game, assembly.sampled_nets, 1_000_000_000, lambda warning: None, assembly.held_out))
    on_card = game.runtime.device.type == "cuda"
    steps = every * -(-least // every)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # no warnings on machines without a GPU
    # A CPU computes while it is waited for, so there the game looks at once whether to undo a move.
    with nullcontext() if on_card else patch.object(Runtime, "asynchronous", True):
        for _ in range(steps):  # warms up: memory is allocated, kernels are chosen
            step(game)
        wait()
        with profile(activities=activities) as profiler:
            with record_function(WINDOW):
                for _ in range(steps):
                    step(game)
            wait()
    return within(profiler.events()), steps


def within(events: Any) -> Counter[str]:
    """Waits that begin within the window."""
    cpu = torch.autograd.DeviceType.CPU
    (window,) = (event.time_range for event in events if event.name == WINDOW and event.device_type == cpu)
    found: Counter[str] = Counter()
    for event in events:
        kind = next((kind for kind in WAITS if event.name == kind or event.name.startswith(f"{kind} ")), None)
        # The card does later what it was given: its copies count wherever they are.
        inside = event.device_type != cpu or window.start <= event.time_range.start <= window.end
        if kind and inside and not _of_the_cpus_adam(event):
            found[kind] += 1
    return found


def _of_the_cpus_adam(event: Any) -> bool:
    """Whether it is asked for in the CPU's fused Adam, which reads the number of its step; a card's does not."""
    parent = event.cpu_parent
    while parent is not None and not parent.name.startswith("aten::_fused_adam"):
        parent = parent.cpu_parent
    return parent is not None
