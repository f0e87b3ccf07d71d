"""W&B that cannot be had: what a run loses by it, and how much of its time."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.tracking.stub_wandb import StubWandb

if TYPE_CHECKING:
    from tests.faults.lab import Lab

KEY = "x" * 40


@dataclass
class Outage:
    name: str
    folder: Path
    words: tuple[str, ...]
    share: float = 1.0  # of the steps' time that the tracker took while it trained
    failures: list[str] = field(default_factory=list)

    def expect(self, holds: object, what: str) -> None:
        if not holds:
            self.failures.append(what)


# A run that measures what its W&B tracker takes, and prints it last.
PROGRAM = """
import sys, time
from gan_lab.run import training_run
from gan_lab.cli import main
from gan_lab.tracking import server, wandb

spent = {"tracker": 0.0, "training": 0.0}

def timed(owner, method, where):
    call = getattr(owner, method)
    def measured(*arguments, **named):
        begin = time.perf_counter()
        try:
            return call(*arguments, **named)
        finally:
            spent[where] += time.perf_counter() - begin
    setattr(owner, method, measured)

for method in ("record", "picture", "warn", "checkpoint"):
    timed(wandb.WandbTracker, method, "tracker")
timed(training_run, "train", "training")
wandb.FINISH_SECONDS = wandb.GRACE_SECONDS = 3.0
server.PROBE_SECONDS = 1.0
code = main(["train", *sys.argv[1:]])
print("spent", spent["tracker"], spent["training"])
sys.stdout.flush()
import os
os._exit(code)
"""


@contextlib.contextmanager
def swallowing() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def closed() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    yield address


class Slow(StubWandb):
    """A second for each answer."""

    def _answer(self, path: str, body: bytes) -> tuple[int, Any]:
        time.sleep(1.0)
        return super()._answer(path, body)


def outages(lab: Lab) -> Iterator[Outage]:
    """Each outage's run, which has ended: of the default experiment, so that the share of its time means something."""
    words = (
        "trainer.images=9600", "trainer.threads=1", "trainer.device=cpu", "evaluation.metrics=[]",
        "tracking.samples_every=4000", "trainer.checkpoint_every=4000",
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        mortal = stack.enter_context(StubWandb())
        mortal.on_history = lambda server: server.stop()  # dies once it has seen something
        alive, slow = stack.enter_context(StubWandb()), stack.enter_context(Slow())
        addresses = {
            "there": alive.url, "unreachable": stack.enter_context(closed()),
            "black hole": stack.enter_context(swallowing()), "dying": mortal.url, "slow": slow.url,
        }  # fmt: skip
        for name, address in addresses.items():
            outage = Outage(name, lab.new(name.replace(" ", "-")), words)
            environment = os.environ | {"WANDB_BASE_URL": address, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}
            environment |= {"WANDB_CONFIG_DIR": str(lab.folder), "WANDB_CACHE_DIR": str(lab.folder)}
            command = [sys.executable, "-c", PROGRAM, *words, f"run_dir={outage.folder}"]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
            outage.expect(done.returncode == 0, f"exit code {done.returncode}:\n{done.stdout}{done.stderr}")
            last = [line for line in done.stdout.splitlines() if line.startswith("spent ")]
            if last:
                tracker, training = map(float, last[0].split()[1:])
                outage.share = tracker / training
            folders = [path for path in (outage.folder / "wandb").glob("*run-*") if path.is_dir()]
            outage.expect(len(folders) == 1, f"{len(folders)} folders of W&B")
            if name != "there" and folders:
                _sync(outage, folders[0], alive)
            yield outage


def _sync(outage: Outage, folder: Path, server: StubWandb) -> None:
    """What the outage kept from the server arrives when there is one."""
    environment = os.environ | {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}
    command = [sys.executable, "-m", "wandb", "sync", "--no-skip-online", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    id = (outage.folder / "wandb" / "run_id").read_text().strip()
    rows = [row for row in server.runs[id].rows if "generator/adversarial" in row] if id in server.runs else []
    wanted = [json.loads(line) for line in (outage.folder / "metrics.jsonl").read_text().splitlines()]
    images = [record["images"] for record in wanted if "generator/adversarial" in record]
    arrived = [row["images"] for row in rows]
    outage.expect(len(images) > 3, f"{len(images)} records")
    outage.expect(done.returncode == 0, f"wandb sync: {done.stdout}{done.stderr}")
    outage.expect(arrived == images, f"wandb sync sent {arrived}, not {images}")
