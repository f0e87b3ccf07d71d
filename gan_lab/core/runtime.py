"""How the game is computed: device, precision, memory format, determinism, rank, seeding."""

from __future__ import annotations

import copy
import functools
import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

VARIANTS = 32  # compiled variants of one network that torch.compile may make


class LostContact(RuntimeError):
    """Another rank has ended, or did not answer in time."""


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; `auto` takes cuda, then mps, then cpu.

    Raises ValueError, with the choices, for a device that this machine does not have.
    """
    here = ["cpu"]
    if torch.backends.mps.is_available():
        here.insert(0, "mps")
    if torch.cuda.is_available():
        here[:0] = ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name == "auto":
        name = here[0]
    if name not in here:
        usable = ", ".join(["auto", *here])
        raise ValueError(f"trainer.device={name}: this machine has no such device; choose from {usable}")
    return torch.device(name)


def has_bf16_units() -> bool:
    """Whether the CPU multiplies bf16 in hardware. True where torch cannot report it."""
    units = _bf16_units()
    return any(units) or not units


def fastest_precision(device: torch.device) -> Literal["fp32", "bf16"]:
    """bf16 where the device is known to have units for it, else fp32: without them, bf16 is many times slower."""
    if device.type == "cuda":
        units = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        units = device.type == "cpu" and any(_bf16_units())
    return "bf16" if units else "fp32"


def _bf16_units() -> list[bool]:
    """Whether the CPU has each kind of units for bf16; empty where torch cannot report it."""
    query = getattr(torch.cpu, "get_capabilities", None)
    capabilities: dict[str, object] = query() if query else {}
    return [bool(has) for name, has in capabilities.items() if "bf16" in name]


@functools.cache
def _own_threads() -> int:
    """The process's initial number of threads, for a run without its own number after a run that changed it."""
    return torch.get_num_threads()


@dataclass
class Runtime:
    """All settings of the machine and its use, kept apart from the rules of the game."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    compile: str | None = None  # torch.compile's mode; None compiles nothing
    deterministic: bool = False
    threads: int | None = None  # of the CPU; None is the process's own number
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        own = _own_threads()  # cached before the first run changes it
        torch.set_num_threads(self.threads or own)
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(self.deterministic)
        torch.backends.cudnn.benchmark = self.device.type == "cuda" and not self.deterministic
        # The meta device has no generator, and no random numbers are drawn on it.
        self._generator = None if self.device.type == "meta" else torch.Generator(self.device)

    @property
    def asynchronous(self) -> bool:
        """Whether the device computes asynchronously, so that reading a value makes the host wait."""
        return self.device.type != "cpu"

    def generator(self, seed: int) -> torch.Generator | None:
        """The one generator of the game's device, set to `seed`."""
        return self._generator and self._generator.manual_seed(seed)

    def seed_layers(self, seed: int) -> None:
        """Seed the global generators, from which layers such as dropout draw."""
        torch.default_generator.manual_seed(seed)  # torch.manual_seed also calls every backend: 200 times slower
        if self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index or 0].manual_seed(seed)
        elif self.device.type == "mps":
            torch.mps.manual_seed(seed)

    def autocast(self, enabled: bool) -> AbstractContextManager[object]:
        """A context for mixed precision in the forward pass, if the run uses it and the phase allows it."""
        if self.precision == "fp32" or not enabled or self.device.type == "meta":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def place(self, net: nn.Module) -> nn.Module:
        """Move a network to the device, with 4-D weights in the chosen memory format."""
        net.to(self.device)
        return net.to(memory_format=torch.channels_last) if self.channels_last else net

    def compiled(self, nets: nn.ModuleDict) -> dict[str, Callable[..., Any]]:
        """Compiled versions of the networks, which share their parameters; empty where nothing is compiled.

        The compiled code of earlier runs in this process is dropped: torch silently stops compiling a function after
        eight variants, and those of other runs would count.
        """
        if self.compile is None:
            return {}
        torch.compiler.reset()
        # One run has several variants: for real and fake samples, and with and without gradients of the weights.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VARIANTS)
        return {name: torch.compile(net, mode=self.compile) for name, net in nets.items()}

    def sync_parameters(self, tensors: Iterable[Tensor]) -> None:
        """Give every rank rank 0's values."""
        if self.world > 1:
            with contact():
                for tensor in tensors:
                    torch.distributed.broadcast(tensor.data, 0)

    def average(self, gradients: Sequence[Tensor]) -> None:
        """Mean over ranks, by one flat all-reduce. Gradients that are None must be left out, and stay None."""
        if self.world > 1 and gradients:
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            with contact():
                torch.distributed.all_reduce(flat)
            parts = torch.split(flat.div_(self.world), [gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def gather(self, rows: Tensor) -> Tensor:
        """The rows [B, ...] of all ranks, [world * B, ...], in the order of ranks. No gradient passes."""
        if self.world == 1:
            return rows
        rows = rows.detach().contiguous()
        every = [torch.empty_like(rows) for _ in range(self.world)]
        with contact():
            torch.distributed.all_gather(every, rows)
        return torch.cat(every)

    def own(self, rows: Tensor) -> Tensor:
        """The part [B, ...] of this rank in what `gather` returns."""
        return rows.chunk(self.world)[self.rank]

    def maximum(self, *numbers: int) -> list[int]:
        """The maximum of each number over the ranks. It passes through the hosts: no rank waits for its device."""
        if self.world == 1:
            return list(numbers)
        tensor = torch.tensor(numbers)
        with contact():
            torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
        return [int(number) for number in tensor.tolist()]

    def share(self, state: Callable[[], Any]) -> Any:
        """Rank 0's `state()`, of plain types and tensors, on every rank; tensors are on the CPU."""
        file = io.BytesIO()
        if self.rank == 0:
            torch.save(state(), file)
        content = torch.frombuffer(bytearray(file.getvalue() or b"-"), dtype=torch.uint8)
        (size,) = self.maximum(len(content))
        if self.rank:
            content = torch.empty(size, dtype=torch.uint8)
        self.sync_parameters([content])
        return torch.load(io.BytesIO(content.numpy().tobytes()), map_location="cpu", weights_only=True)


@contextmanager
def contact(about: str = "") -> Iterator[None]:
    """A context for an exchange with other ranks. Raises LostContact, `about` and why, where one takes no part."""
    try:
        yield
    except RuntimeError as error:
        raise LostContact(about + str(error).strip().split("\n")[0]) from error


def mean_over_ranks(value: Tensor) -> Tensor:
    """For networks that move a buffer by the rows that they see in training: the mean of a tensor over ranks.

    No gradient passes. All ranks must call it, so it is called in training mode only.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    value = value.detach().clone()
    with contact():
        torch.distributed.all_reduce(value)
    return value / torch.distributed.get_world_size()


def full_precision(device: str) -> AbstractContextManager[object]:
    """A context without autocast, for what bf16 is too coarse for: inner products of long rows, places of pixels."""
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)


@contextmanager
def inference(
    nets: nn.ModuleDict, batch_norm: str, warm: Callable[[nn.ModuleDict], None] | None = None
) -> Iterator[nn.ModuleDict]:
    """A context with the networks in eval mode. Afterwards, their modes are restored.

    `batch_norm="batch"` normalizes by each batch's own statistics, as in training, without changing the running ones.
    With "standing", the statistics are of what `warm` runs the networks on, and the running ones are restored later.
    """
    modes = {module: module.training for module in nets.modules()}
    shared: list[Any] = [module for module in nets.modules() if getattr(module, "exchanges", False)]
    norms = [m for m in nets.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    nets.eval()
    for module in shared:
        module.exchanges = False  # rank 0 does this alone
    try:
        if batch_norm == "batch":
            for norm in norms:
                norm.train()
                norm.track_running_stats = False
        with standing_statistics(norms, nets, warm) if batch_norm == "standing" and warm else nullcontext():
            yield nets
    finally:
        for module in shared:
            module.exchanges = True
        for norm in norms:
            norm.track_running_stats = True
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def standing_statistics(
    norms: Sequence[nn.modules.batchnorm._BatchNorm], nets: nn.ModuleDict, warm: Callable[[nn.ModuleDict], None]
) -> Iterator[None]:
    """A context in which batch norms have the mean statistics of all batches of `warm(nets)`.

    Brock et al. 2019, arXiv 1809.11096, section 3: statistics of the averaged weights themselves, of many samples.
    Norms that `warm` does not reach keep theirs.
    """
    before = [(norm.momentum, copy.deepcopy(dict(norm.named_buffers(recurse=False)))) for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
            norm.train()
        warm(nets)
        for norm, (momentum, buffers) in zip(norms, before, strict=True):
            norm.eval()
            norm.momentum = momentum
            if not norm.num_batches_tracked:
                norm.load_state_dict(buffers, strict=False)
        yield
    finally:
        for norm, (momentum, buffers) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.load_state_dict(buffers, strict=False)


def has_batch_statistics(net: nn.Module) -> bool:
    """Whether a row's output depends on the other rows, so that micro-batches or ranks change the result."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules())


def judges_rows(net: nn.Module) -> bool:
    """Whether batches can be split or joined without changing any row's output or the network's state.

    The attribute `rowwise = True` of a network states that its own code does not mix rows. Its layers must not either:
    no batch statistics, no spectral normalization, which changes with each pass, and no dropout, whose draws depend on
    the batch.
    """
    buffers = next(net.buffers(), None)
    random = any(isinstance(module, nn.modules.dropout._DropoutNd) for module in net.modules())
    return bool(getattr(net, "rowwise", False)) and buffers is None and not random and not has_batch_statistics(net)


def warn_about_batch_statistics(nets: nn.ModuleDict, micro_batches: int) -> None:
    names = [name for name, net in nets.items() if has_batch_statistics(net)]
    if micro_batches > 1 and names:
        warnings.warn(
            f"{' and '.join(names)} normalize over the batch: trainer.micro_batches={micro_batches} "
            "normalizes over smaller groups and so trains another model than one whole batch would",
            stacklevel=2,
        )
