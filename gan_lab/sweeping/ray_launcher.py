"""Jobs on a Ray cluster. The processes of one job are tasks of a placement group: all start, or none does."""

from __future__ import annotations

import logging
import os
import sys
import zlib
from dataclasses import dataclass
from typing import Any

from gan_lab.run.place import free_port
from gan_lab.sweeping.launchers import PackedJob, RemoteLauncher


@dataclass(frozen=True)
class Sent:
    """A job's tasks, one for each of its processes, and their placement group where there are several."""

    tasks: list[Any]
    group: Any = None


class RayLauncher(RemoteLauncher):
    """A Ray task for each job, or for each process of a job that has several, on machines that Ray chooses.

    Ray does not retry a task whose process died: the user repeats the command instead.
    """

    def prepare(self) -> None:
        import ray

        s = self.settings
        if not ray.is_initialized():
            os.environ.update(RAY_DEDUP_LOGS="0", RAY_COLOR_PREFIX="0")  # our own label is before each line
            here = {} if s["address"] else {"num_cpus": s["num_cpus"], "include_dashboard": False}
            ray.init(address=s["address"], logging_level=logging.ERROR, log_to_driver=True, **here)

    def send(self, task: PackedJob) -> Sent:
        import ray

        s, processes = self.settings, task.config.trainer.processes
        cores, cards = max(s["cpus_per_job"] / processes, 1.0 if processes > 1 else 0), s["gpus_per_job"] / processes
        own = {"num_cpus": cores, "num_gpus": cards, "max_retries": 0}
        if processes == 1:
            return Sent([ray.remote(**own)(job).remote(task)])
        from ray.util import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        bundle = {"CPU": cores} | ({"GPU": cards} if cards else {})
        group = placement_group([bundle] * processes)  # on as few machines as have room

        def at(rank: int) -> Any:
            return PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)

        # Ray waits for this one and then starts the others: nobody waits here.
        where = ray.remote(num_cpus=0, scheduling_strategy=at(0))(meeting_place).remote(task.name)
        # A process ends with its task: torch.distributed and the variables belong to one job.
        return Sent(
            [
                ray.remote(**own, max_calls=1, scheduling_strategy=at(rank))(process_of_job).remote(
                    task, rank, processes, where
                )
                for rank in range(processes)
            ],
            group,
        )

    def ended(self, sent: Sent) -> bool:
        import ray

        ready, _ = ray.wait(sent.tasks, num_returns=len(sent.tasks), timeout=0)
        if len(ready) < len(sent.tasks):
            return False
        self._give_back(sent)
        return True

    def cancel(self, sent: Sent) -> None:
        import ray

        for task in sent.tasks:
            ray.cancel(task)
        self._give_back(sent)

    def _give_back(self, sent: Sent) -> None:
        if sent.group is not None:
            from ray.util import remove_placement_group

            remove_placement_group(sent.group)


# Functions that Ray runs; it shows their names before each line.


def job(task: PackedJob) -> None:
    task()


def process_of_job(task: PackedJob, rank: int, world: int, where: tuple[str, int]) -> None:
    """One of a job's processes. Ray shows it the card that it has, if any, and no other."""
    address, port = where
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK="0")
    os.environ.update(MASTER_ADDR=address, MASTER_PORT=str(port))
    task()


def meeting_place(name: str) -> tuple[str, int]:
    """The address of the machine that will have rank 0, and a free port there. Jobs begin to look at different ones."""
    import ray

    return ray.util.get_node_ip_address(), free_port(zlib.crc32(name.encode()))


def shut_down() -> None:
    """Stop a Ray cluster that was started on this machine."""
    if ray := sys.modules.get("ray"):
        ray.shutdown()
