"""The contract between a task and the code around the loop: sampling, scores, pictures, health and commands.

A task is a class in a file of its own. It subclasses `Task`, sets what differs, and is registered:

    @tasks.register("mine")
    class Mine(Task): ...

Nothing outside this package asks which task it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn

from gan_lab.core.forward_pass import ForwardPass, key
from gan_lab.core.types import AdversarialLoss, Data, Phase
from gan_lab.datasets.store import Store, unscale
from gan_lab.display.pictures import Sheet, grid, scatter

CHUNK = 64  # examples made at once, so that example i of a seed does not depend on the number of examples
TOGETHER = 2  # chunks that one rank makes at a time: extractors then see the batches that one process makes
STANDING = 2048  # examples of standing statistics
Example = dict[str, Tensor]  # rows of named columns, on the CPU
Signals = Callable[[nn.ModuleDict, nn.ModuleDict], Mapping[str, float]]  # of the playing nets and the averaged ones
Layout = Callable[[Any, int, int, Tensor | None], Sheet]  # of a trained run, a number, a seed, and chosen classes


@dataclass(frozen=True)
class Exported:
    """A function from tensors to tensors, in batches, and rows to try it on: see `Task.exported`."""

    function: Callable[..., Any]  # takes the inputs in their order; returns a tensor, or one for each output
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...] = ("sample",)


class Parts(Protocol):
    """Makes parts of any registry: `parts.generator()`, `parts.degradation()`, ... as the config chooses them.

    `parts.generator(takes=["input_shape"], input_shape=(3, 16, 16))` gives a part values by name, in place of facts
    about the data. `takes` names parameters that the part must have. Raises ValueError in one line where the part does
    not have them, where a parameter has no value, or where the config chooses no part.
    """

    columns: Mapping[str, Any]  # of the data: `datasets.columns.Column` by name

    def trained(self, path: str) -> Task: ...  # of a run directory: the task with its trained, averaged networks

    def __contains__(self, group: str) -> bool: ...  # whether the config chooses a part of that group

    def __getattr__(self, group: str) -> Callable[..., Any]: ...


class Task:
    """The defaults of the contract. `nets`, `players`, `forward_pass`, `phases` and `examples` have none."""

    # -- for the loop --------------------------------------------------------------------------------------------

    nets: nn.ModuleDict
    players: Mapping[str, Sequence[str]]  # a player may own several nets; a net that no player owns is frozen
    forward_pass: type[ForwardPass]
    boundary: float | None = 0.0  # the logit at which D judges real and fake equally likely; None: no such logit
    averaged: Sequence[str] = ()  # nets with an exponential moving average, which makes the examples

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]:
        """The phases of a step, in order. `core.types.regularized` adds the regularizers to them."""
        raise NotImplementedError(f"{type(self).__name__} says no phases")

    def check_duration(self, images: int) -> None:
        """Raise ValueError where a run of so many images would end before what the task insists on begins."""

    def check_batch(self, rows: int) -> None:
        """Raise ValueError where so many rows, a batch or one of its micro-batches, cannot be judged at once."""

    # -- examples and their measures -------------------------------------------------------------------------------

    columns: frozenset[str] = frozenset({"sample"})  # yielded by `examples`; a measure must find all that it reads
    measures: Sequence[str] | None = None  # the default scores, the first of which selects; None: all possible ones
    reference: str = "sample"  # the column of the data with which samples are compared
    needs_data: bool = False  # whether examples are made from data (held-out ones, if there are any), not from noise
    deterministic: bool = False  # whether examples depend on the data alone, so that one noise seed is enough
    conditions: str = ""  # settings of the examples; scores with different ones are not compared
    selects_from: int = 0  # images at the start of the last stage; once it has scores, only these select a checkpoint

    def examples(self, nets: nn.ModuleDict, num: int, seed: int, data: Data | None) -> Iterator[Example]:
        """Up to `num` examples in batches, made by `nets` in their current mode.

        All samples, scores, pictures and checks use it. `data` is None where `needs_data` is false.
        """
        raise NotImplementedError(f"{type(self).__name__} makes no examples")

    def exported(self, nets: nn.ModuleDict, data: Data | None, direction: str | None = None) -> Exported:
        """What other programs get of the task (`gan-lab export --format onnx`): a function, with rows to try it on.

        A detector's scores, a translator's outputs, or else the one network that makes the examples. A task of several
        networks says itself how they follow each other. Raises ValueError where nothing is exported.
        """
        from gan_lab.tasks.exporting import as_it_is_used

        return as_it_is_used(self, nets, data, direction)

    generates: bool = False  # whether examples are made of latents alone: it then has `latents` and `generate`

    def latents(self, num: int, seed: int) -> tuple[Tensor, Tensor | None]:
        """Latents [num, latent_dim] and classes [num], or None: those of the first `num` examples of a seed."""
        raise NotImplementedError(f"{type(self).__name__} has no latents")

    def generate(self, nets: nn.ModuleDict, z: Tensor, label: Tensor | None) -> Tensor:
        """Samples [N, ...] on the CPU for given latents and classes, made by `nets` in their current mode."""
        raise NotImplementedError(f"{type(self).__name__} generates nothing")

    for_training: frozenset[str] = frozenset()  # modules of the task, besides `nets`, that only training needs

    def warm(self, nets: nn.ModuleDict) -> None:
        """Make `STANDING` examples, of whose activations batch norms take their statistics: see `core.runtime`."""
        for _ in self.examples(nets, STANDING, -1, None):
            pass

    def bar(self, columns: Mapping[str, Tensor]) -> tuple[str, Tensor]:
        """The name of a trivial solution, and its output for these columns of examples.

        Its measures are reported beside those of the trained networks. It is called only if `columns` contains "bar".
        """
        raise NotImplementedError(f"{type(self).__name__} has no bar")

    def reconstruct(self, pictures: Tensor) -> Tensor:
        """Pictures [B, C, H, W] in [-1, 1], made again by what the task decodes its samples with; on their device.

        It is called only if `columns` contains "reconstruction".
        """
        raise NotImplementedError(f"{type(self).__name__} reconstructs nothing")

    translates: bool = False  # whether `gan-lab apply` works with this task
    # Of a task that translates in several ways, each by its name, from one column of the data to another: the first is
    # the default. `translate` then takes `direction`.
    directions: ClassVar[Mapping[str, tuple[str, str]]] = {}
    factor: int = 1  # height and width of an output over those of its source

    def source_of(self, picture: Tensor, alpha: Tensor | None) -> Tensor:
        """The source for `translate`, from a user's picture [1, C, h, w] and its opacity [1, 1, h, w] in [0, 1]."""
        return picture

    def translate(self, nets: nn.ModuleDict, source: Tensor) -> Tensor:
        """Outputs on the CPU for sources [B, C, h, w] of any size, for `gan-lab apply`."""
        raise NotImplementedError(f"{type(self).__name__} translates nothing")

    def in_file(self, output: Tensor) -> Tensor:
        """What `gan-lab apply` writes of a whole output of `translate` [1, C, h, w], in [-1, 1]."""
        return output

    detects: bool = False  # whether `gan-lab score` works with this task

    def detect(self, nets: nn.ModuleDict, pictures: Tensor) -> Example:
        """`score` [B], higher for what is less normal, and `map` [B, H, W], for pictures [B, C, H, W]; on the CPU."""
        raise NotImplementedError(f"{type(self).__name__} detects nothing")

    # -- display ---------------------------------------------------------------------------------------------------

    shown: int | None = None  # examples in a picture; None: `tracking.samples`
    takes_label: bool = False  # whether `gan-lab sample --label` works with this task
    layouts: ClassVar[Mapping[str, Layout]] = {}  # of `gan-lab sample --grid`

    def sheet(self, examples: Example, data: Data | None) -> Sheet:
        """A sheet of examples: images in a grid, points over the data."""
        sample = examples["sample"]
        if sample.dim() == 4:
            return Sheet(grid(unscale(sample).numpy()))
        known = data.columns["sample"][:2000] if isinstance(data, Store) else None
        return Sheet(scatter(sample, known))

    def signals(self, train: Data, held_out: Data | None, device: torch.device) -> Signals | None:
        """A function that computes the task's own health signals: numbers by the names of `run.health.RULES`."""
        return None


# -- for several processes that make the examples of one score together -----------------------------------------------


@dataclass
class Division:
    """Which part of all chunks `own_chunks` gives: `index` of `count`. `used`: whether somebody has asked."""

    index: int = 0
    count: int = 1
    used: bool = False


T = TypeVar("T")
_divisions = [Division()]


@contextlib.contextmanager
def divided(index: int, count: int) -> Iterator[Division]:
    """A context in which `examples` makes only its part, if it goes by `own_chunks` or `chosen_rows`."""
    _divisions.append(Division(index, count))
    try:
        yield _divisions[-1]
    finally:
        _divisions.pop()


def own_chunks(chunks: Iterable[T]) -> Iterator[T]:
    """All chunks, or in a context `divided` those of one process, `TOGETHER` at a time, in turn."""
    division = _divisions[-1]
    division.used = True
    for i, chunk in enumerate(chunks):
        if i // TOGETHER % division.count == division.index:
            yield chunk


# -- for tasks that make examples from data ----------------------------------------------------------------------------


def joined(examples: Iterator[Example]) -> Example:
    """All batches of an iterator joined into one."""
    parts = list(examples)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def chosen_rows(length: int, num: int, seed: int) -> Iterator[Tensor]:
    """Indices of up to `num` of `length` rows, some at a time: a permutation keyed by the seed.

    The order is random, also for sorted data. No row comes twice: where `num` exceeds `length`, each row comes once.
    """
    order = torch.randperm(length, generator=torch.Generator().manual_seed(key("rows", seed)))
    yield from own_chunks(order[:num].split(CHUNK))


class RowDraws:
    """Random numbers for rows, keyed by row and seed: a row gets the same numbers in any batch and on any device.

    Called as `ForwardPass.draw` is: with a stream's name, a shape, and `kind` normal or uniform.
    """

    def __init__(self, rows: Tensor, seed: int, device: torch.device | str = "cpu") -> None:
        self.rows, self.seed, self.device = rows.tolist(), seed, device

    def __call__(self, stream: str, *shape: int, kind: str = "normal") -> Tensor:
        """[B, *shape], standard normal or uniform in [0, 1)."""
        drawn = []
        for row in self.rows:
            random = torch.Generator().manual_seed(key("row", stream, self.seed, row))
            values = torch.empty(shape)
            drawn.append(values.normal_(generator=random) if kind == "normal" else values.uniform_(generator=random))
        return torch.stack(drawn).to(self.device)


def picture_values(shape: tuple[int, ...]) -> dict[str, Any]:
    """Values for parts from a picture's shape (C, H, W): `image_channels`, and `image_size`, an int or (H, W)."""
    channels, height, width = shape
    return {"image_channels": channels, "image_size": height if height == width else (height, width)}


def device_of(nets: nn.ModuleDict) -> torch.device:
    return next(nets.parameters()).device


@torch.no_grad()
def tried_out(name: str, net: nn.Module, *inputs: Tensor | None) -> Any:
    """A network's output for a few rows, in eval mode. A mismatch becomes a message, not a traceback from a layer.

    Raises ValueError with the network's name (`generator=unet`) and the reason.
    """
    mode = net.training
    try:
        return net.eval()(*inputs)
    except Exception as error:  # layers may raise any exception
        shapes = ", ".join(" x ".join(map(str, x.shape[1:])) for x in inputs if x is not None)
        why = " ".join(str(error).split())[:200]
        raise ValueError(f"{name} does not take {shapes}: {why}; choose another part, or other data") from error
    finally:
        net.train(mode)
