"""`trainer.profile=true`: measures the time of each phase, from some steps of the run itself."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gan_lab.core.hooks import Hook
from gan_lab.core.loop import Game
from gan_lab.core.types import Phase

WARM_UP, STEPS = 10, 20  # steps before the profile, and steps in it
SHOWN = 6  # operators of a phase
HOOKS = "hooks"
PARTS = ("forward", "backward", "update")


class Operations(TorchDispatchMode):
    """Counts floating point operations, by default with torch's own formulas.

    torch's FlopCounterMode is not used: it adds module hooks, which fail with gradients of inputs.
    """

    def __init__(self, formulas: Mapping[Any, Callable[..., int]] = flop_registry) -> None:
        super().__init__()
        self.formulas, self.total = formulas, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if (count := self.formulas.get(func._overloadpacket)) is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


@dataclass
class PhaseCost:
    """The time of one phase in the profiled steps: seconds by part and by operator."""

    seconds: float = 0.0
    plays: int = 0
    flops: float = 0.0  # of one move
    parts: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    operators: dict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0]))


class Profile(Hook):
    """Profiles steps 11 to 30 with torch's profiler and passes the tables to `say`. Training itself does not change.

    A profiled step is slower, because the profiler takes time. The names of torch's events give the parts: events
    inside autograd's engine are backward, events inside an optimizer are update, and other operators are forward. The
    rest of a phase's time is Python and the profiler. The next step is also slower: it counts the floating point
    operations of matrix products and convolutions.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self.say = say
        self._steps, self._looking = 0, False
        self._profiler: Any = None
        self._counter: Operations | None = None
        self._flops: dict[str, list[int]] = defaultdict(list)  # of each move in the counted step
        self._spans: list[tuple[str, float]] = []  # phases in order, with their seconds
        self._clock = 0.0

    def before_step(self, game: Game) -> None:
        if self._steps == WARM_UP and not self._looking:
            activities = [torch.profiler.ProfilerActivity.CPU]
            if game.runtime.device.type == "cuda":
                activities.append(torch.profiler.ProfilerActivity.CUDA)
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # no warnings on machines without a GPU
            self._profiler = torch.profiler.profile(activities=activities, record_shapes=True)
            self._profiler.start()
            self._looking = True
        elif self._steps == WARM_UP + STEPS and not game.compiled and self._counter is None:
            self._counter = Operations()  # it does not work with compiled code
            self._counter.__enter__()
        self._clock = time.perf_counter()

    def after_play(self, game: Game, phase: Phase, values: Mapping[str, Sequence[Tensor]]) -> None:
        self._mark(game, phase.name)
        if self._counter is not None:
            self._flops[phase.name].append(self._counter.total)
            self._counter.total = 0

    def after_step(self, game: Game) -> None:
        self._mark(game, HOOKS)
        self._steps += 1
        if self._steps == WARM_UP + STEPS:
            self._stop()
        elif self._steps == WARM_UP + STEPS + 1:
            self._stop()
            for line in table(self._spent(game), STEPS, game.batch_size):
                self.say(line)
            self._profiler = None

    def close(self) -> None:
        """Stop profiling at the run's end. Prints a line where the run had too few steps for a profile."""
        self._stop()
        if self._steps <= WARM_UP + STEPS:
            self.say(f"trainer.profile: {self._steps} steps are too few to look at; it takes {WARM_UP + STEPS + 1}")

    def _stop(self) -> None:
        if self._looking:
            self._profiler.stop()
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
        self._looking, self._counter = False, None

    def _mark(self, game: Game, name: str) -> None:
        if not self._looking:
            return
        if game.runtime.device.type == "cuda":  # the host waits for the device only while profiling
            torch.cuda.synchronize(game.runtime.device)
        # Our own event marks the end of a phase.
        with torch.profiler.record_function(f"gan_lab/{len(self._spans)}"):
            now = time.perf_counter()
        self._spans.append((name, now - self._clock))
        self._clock = now

    def _spent(self, game: Game) -> dict[str, PhaseCost]:
        """The cost of each phase. An event belongs to the phase of the next mark."""
        events = sorted(self._profiler.events(), key=lambda event: event.time_range.start)
        costs: dict[str, PhaseCost] = defaultdict(PhaseCost)
        for name, seconds in self._spans:
            costs[name].seconds += seconds
            costs[name].plays += 1
        for name, counted in self._flops.items():
            costs[name].flops = sum(counted) / len(counted)
        on_device = game.runtime.device.type == "cuda"
        index = 0
        for event in events:
            if event.name == f"gan_lab/{index}":
                index += 1
            elif index < len(self._spans) and not event.name.startswith("gan_lab/"):
                _add(costs[self._spans[index][0]], event, on_device)
        return costs


def _add(spent: PhaseCost, event: Any, on_device: bool) -> None:
    if event.device_type != torch.autograd.DeviceType.CPU:
        return  # kernels: each is counted with the operator that launched it
    seconds = (event.self_device_time_total if on_device else event.self_cpu_time_total) / 1e6
    spent.parts[_part(event)] += seconds
    if event.name.startswith("aten::"):
        totals = spent.operators[_called(event)]
        totals[0] += seconds
        totals[1] += 1


def _part(event: Any) -> str:
    while event is not None:
        if event.name.startswith("autograd::engine"):
            return "backward"
        if event.name.startswith("Optimizer."):
            return "update"
        event = event.cpu_parent
    return "forward"


def _called(event: Any) -> str:
    """The operator's name, with the shapes of its inputs for a convolution or a matrix product."""
    name: str = event.name.removeprefix("aten::")
    heavy = any(word in name for word in ("conv", "mm", "linear"))
    shapes = [shape for shape in event.input_shapes or () if len(shape) > 1][:2] if heavy else []
    return " ".join([name, *("x".join(map(str, shape)) for shape in shapes)])


def table(spent: Mapping[str, PhaseCost], steps: int, batch_size: int) -> Iterable[str]:
    """Lines with each phase's milliseconds per step, the share of each part, and its most expensive operators."""
    whole = sum(phase.seconds for phase in spent.values())
    rate = steps * batch_size / whole
    yield f"profile of {steps} steps: {whole / steps * 1e3:.2f} ms a step while looked at, {rate:,.0f} images/s"
    heads = "".join(f"{head:>10}" for head in (*PARTS, "other", "GFLOP/s"))
    yield f"  {'phase':26}{'ms/step':>9}{'share':>8}   {heads}"
    for name, phase in spent.items():
        line = f"  {name:26}{phase.seconds / steps * 1e3:>9.2f}{phase.seconds / whole:>8.1%}   "
        if name == HOOKS:
            yield line
            continue
        parts = [phase.parts.get(part, 0.0) / phase.seconds for part in PARTS]
        shares = "".join(f"{share:>10.1%}" for share in (*parts, max(1 - sum(parts), 0.0)))
        # A lazy phase may not run in the counted step.
        counted = f"{phase.flops * phase.plays / phase.seconds / 1e9:>10,.1f}" if phase.flops else ""
        yield line + shares + counted
    for name, phase in spent.items():
        operators = sorted(phase.operators.items(), key=lambda item: -item[1][0])[:SHOWN]
        if not operators:
            continue
        yield f"  {name + ':':62}{'calls':>6}{'ms/step':>9}"
        for called, (seconds, calls) in operators:
            yield f"    {called:60}{calls / steps:>6.3g}{seconds / steps * 1e3:>9.2f}"
