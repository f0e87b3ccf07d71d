"""What a kind of game says to everything around the loop: sampling, scores, pictures, health and the command line.

A task is a class in a file of its own. It subclasses `Task`, sets what differs, and is registered:

    @tasks.register("mine")
    class Mine(Task): ...

Nothing outside this package asks which task it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from gan_lab.core.forward_pass import ForwardPass, key
from gan_lab.core.types import AdversarialLoss, Data, Phase
from gan_lab.datasets.store import Store, unscale
from gan_lab.display.pictures import Sheet, grid, scatter

CHUNK = 64  # examples that are made at once: example i of a seed is the same however many are asked for
Example = dict[str, Tensor]  # rows of named columns, on the CPU
Signals = Callable[[nn.ModuleDict, nn.ModuleDict], Mapping[str, float]]  # of the playing nets and the averaged ones
Layout = Callable[[Any, int, int, Tensor | None], Sheet]  # of a trained run, a number, a seed, and chosen classes


class Parts(Protocol):
    """Makes parts of any registry: `parts.generator()`, `parts.degradation()`, ... as the config chooses them.

    `parts.generator(takes=["input_shape"], input_shape=(3, 16, 16))` gives a part a value by name, in place of what is
    known of the data; `takes` names values that the part must ask for. Raises ValueError in one line where the part
    does not take them, where it asks for a value that nobody has, or where the config chooses none.
    """

    columns: Mapping[str, Any]  # of the data: `datasets.columns.Column` by name

    def __contains__(self, group: str) -> bool: ...  # whether the config chooses a part of that group

    def __getattr__(self, group: str) -> Callable[..., Any]: ...


class Task:
    """The defaults of the contract. `nets`, `players`, `forward_pass`, `phases` and `examples` have none."""

    # -- for the loop --------------------------------------------------------------------------------------------

    nets: nn.ModuleDict
    players: Mapping[str, Sequence[str]]  # a player may own several nets; a net that no player owns is frozen
    forward_pass: type[ForwardPass]
    averaged: Sequence[str] = ()  # nets of which an exponential moving average is kept, for examples

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]:
        """The moves of a step, in their order. `core.types.regularized` puts regularizers where they belong."""
        raise NotImplementedError(f"{type(self).__name__} says no phases")

    # -- what it makes, and how that is measured -------------------------------------------------------------------

    columns: frozenset[str] = frozenset({"sample"})  # that `examples` yields; a measure is offered where they suffice
    measures: Sequence[str] | None = None  # scored unless others are named, the first one selects; None: all there are
    reference: str = "sample"  # the column of the data that samples should look like
    needs_data: bool = False  # whether examples are made from data (held-out ones, where there are), or from noise
    deterministic: bool = False  # whether examples depend on the data alone: then one noise seed is enough
    conditions: str = ""  # what examples are made under: scores under other ones are not compared
    selects_from: int = 0  # images: once that stage has scores, earlier ones choose no checkpoint

    def examples(self, nets: nn.ModuleDict, num: int, seed: int, data: Data | None) -> Iterator[Example]:
        """Up to `num` examples, some at a time, by `nets` in the mode that they are in.

        The one source of samples, scores, pictures and checks. `data` is None where `needs_data` is false.
        """
        raise NotImplementedError(f"{type(self).__name__} makes no examples")

    def bar(self, columns: Mapping[str, Tensor]) -> tuple[str, Tensor] | None:
        """What a trivial solution makes of these columns of examples, and its name; None where there is none.

        Measures of it stand beside those of the trained nets.
        """
        return None

    translates: bool = False  # whether `gan-lab apply` means something here
    factor: int = 1  # how many times larger than their sources outputs are

    def source_of(self, picture: Tensor, alpha: Tensor | None) -> Tensor:
        """What `translate` takes, of a user's own picture [1, C, h, w] and its opacity [1, 1, h, w] in [0, 1]."""
        return picture

    def translate(self, nets: nn.ModuleDict, source: Tensor) -> Tensor:
        """Outputs on the CPU for sources [B, C, h, w] of any size: what `gan-lab apply` does with files."""
        raise NotImplementedError(f"{type(self).__name__} translates nothing")

    # -- what people see -------------------------------------------------------------------------------------------

    shown: int | None = None  # examples in a picture; None: as many as `tracking.samples` says
    takes_label: bool = False  # whether `gan-lab sample --label` means something here
    layouts: ClassVar[Mapping[str, Layout]] = {}  # of `gan-lab sample --grid`

    def sheet(self, examples: Example, data: Data | None) -> Sheet:
        """Examples laid out to be looked at: images in a grid, points over the data."""
        sample = examples["sample"]
        if sample.dim() == 4:
            return Sheet(grid(unscale(sample).numpy()))
        known = data.columns["sample"][:2000] if isinstance(data, Store) else None
        return Sheet(scatter(sample, known))

    def signals(self, train: Data, held_out: Data | None, device: torch.device) -> Signals | None:
        """Its own signs of ill health, looked at while training: numbers by the names of `run.health.RULES`."""
        return None


# -- for tasks that make examples from data ----------------------------------------------------------------------------


def joined(examples: Iterator[Example]) -> Example:
    """All examples of an iterator as one."""
    parts = list(examples)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def chosen_rows(length: int, num: int, seed: int) -> Iterator[Tensor]:
    """Indices of up to `num` of `length` rows, some at a time: a permutation keyed by the seed.

    Sorted data come mixed, and no row comes twice: of fewer rows than are asked for, each comes once.
    """
    order = torch.randperm(length, generator=torch.Generator().manual_seed(key("rows", seed)))
    yield from order[:num].split(CHUNK)


class RowDraws:
    """Random numbers of rows, keyed by the row and a seed: a row has the same ones in any batch, on any device.

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
    """What parts ask for of pictures (C, H, W): `image_channels`, and `image_size`, an int or (height, width)."""
    channels, height, width = shape
    return {"image_channels": channels, "image_size": height if height == width else (height, width)}


def device_of(nets: nn.ModuleDict) -> torch.device:
    return next(nets.parameters()).device


@torch.no_grad()
def tried_out(name: str, net: nn.Module, *inputs: Tensor | None) -> Any:
    """What a network makes of a few rows, in eval mode: a misfit is a message and not a traceback from a layer.

    Raises ValueError with the network's name (`generator=unet`) and the reason.
    """
    mode = net.training
    try:
        return net.eval()(*inputs)
    except Exception as error:  # layers raise whatever they like
        shapes = ", ".join(" x ".join(map(str, x.shape[1:])) for x in inputs if x is not None)
        why = " ".join(str(error).split())[:200]
        raise ValueError(f"{name} does not take {shapes}: {why}; choose another part, or other data") from error
    finally:
        net.train(mode)
