"""Contrastive translation: one generator to another domain, without pairs, that keeps what is where."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from gan_lab.core.runtime import judges_rows
from gan_lab.core.types import AdversarialLoss, AdversarialTerm, Data, Phase, Term, regularized
from gan_lab.datasets.store import unscale
from gan_lab.display.pictures import Sheet, beside
from gan_lab.registry import Positive, Weight, tasks
from gan_lab.tasks.contract import Example, Parts, Task, chosen_rows, device_of, picture_values, tried_out
from gan_lab.tasks.judged import JudgedPass, check_needs, offered
from gan_lab.tasks.unpaired import check_shape_kept, shape_of_both


class ContrastivePass(JudgedPass):
    """Pictures of domain b are real, translated ones of domain a fake."""

    task: Contrastive

    @cached_property
    def source(self) -> Tensor:
        return self.data("a")

    @cached_property
    def real(self) -> Tensor:
        return self.probe("real", self.data("b"))

    @cached_property
    def fake(self) -> Tensor:
        return self.probe("fake", self.keep("fake", "generator", lambda: self.net("generator")(self.source)))

    @cached_property
    def same(self) -> Tensor:
        """Pictures of domain b, put through the generator: they should stay what they are."""
        made: Tensor = self.net("generator")(self.data("b"))
        return made


class PatchNCE:
    """The cross-entropy [B] of finding the place in the input that a place of the output comes from (eq. 3 to 5).

    The candidates are other places of the same picture. Its mean over places and layers, as in the authors' code.
    """

    probes: frozenset[str] = frozenset()

    def __init__(self, weight: float, of: str, to: str) -> None:
        self.weight, self.of, self.to = weight, of, to

    def __call__(self, forward: Any) -> Tensor:
        task, nets = forward.task, forward.game.nets
        with torch.no_grad():
            before = task.encoded(nets["generator"], getattr(forward, self.of))
        after = task.encoded(nets["generator"], getattr(forward, self.to))
        found = []
        for number, (x, y) in enumerate(zip(before, after, strict=True)):
            projection = nets["projections"][number]
            count = x.shape[2] * x.shape[3]
            chance = forward.draw(f"places/{self.of}/{number}", count, kind="uniform")
            places = chance.topk(min(task.patches, count), dim=1).indices
            with torch.no_grad():
                keys = projection(at_places(x, places))
            found.append(patch_nce(projection(at_places(y, places)), keys, task.temperature))
        return torch.stack(found).mean(0)


def at_places(features: Tensor, places: Tensor) -> Tensor:
    """Vectors [B, S, C] of a map [B, C, H, W] at the places [B, S], which count row by row."""
    flat = features.flatten(2).transpose(1, 2)
    return flat.gather(1, places[:, :, None].expand(-1, -1, flat.shape[2]))


def patch_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """The mean cross-entropy [B] of query s choosing key s among all S keys, of unit vectors [B, S, D] (eq. 3)."""
    similarity = queries.float() @ keys.float().transpose(1, 2) / temperature
    batch, count, _ = similarity.shape
    wanted = torch.arange(count, device=similarity.device).expand(batch, -1)
    return cross_entropy(similarity.transpose(1, 2), wanted, reduction="none").mean(1)


class Projection(nn.Module):
    """Two linear layers, to unit vectors [..., dimensions] (section 3.2)."""

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, dimensions), nn.ReLU(), nn.Linear(dimensions, dimensions))

    def forward(self, x: Tensor) -> Tensor:
        return normalize(self.layers(x), dim=-1)


class Stop(Exception):
    """All features are known: the decoder need not run."""


@tasks.register("contrastive")
class Contrastive(Task):
    """CUT (Park et al. 2020, arXiv 2007.15651): pictures of domain a are made to look like those of b, without pairs.

    G minimizes  adversarial + patch_weight * PatchNCE(a) + identity_weight * PatchNCE(b)  (eq. 6), where the second
    one keeps pictures of b what they are. With the weights 10 and 0 it is their FastCUT. The features are of `layers`
    of the generator's convolutions, spread from its first to the last before it enlarges; of each,
    `patches` places of a picture are compared. There is no way back: half of `task=unpaired`, at less cost. Raises
    ValueError for data without two domains of one shape, and for networks that do not fit them.
    """

    players: Mapping[str, tuple[str, ...]] = {
        "generator": ("generator", "projections"), "discriminator": ("discriminator",)
    }  # fmt: skip
    averaged = ("generator",)
    forward_pass = ContrastivePass
    reference = "b"
    directions: ClassVar[Mapping[str, tuple[str, str]]] = {"a_to_b": ("a", "b")}
    needs_data = deterministic = translates = True
    conditional = False  # no network looks at labels

    def __init__(
        self,
        parts: Parts,
        sample_shape: tuple[int, ...],
        *,
        patch_weight: Weight = 1.0,
        identity_weight: Weight = 1.0,
        discriminator_weight: Weight = 1.0,
        temperature: float = 0.07,
        layers: Positive = 5,
        patches: Positive = 256,
        dimensions: Positive = 256,
    ) -> None:
        if not temperature > 0:
            raise ValueError(f"task.temperature={temperature}: it must be above 0")
        shape = shape_of_both(parts, "contrastive")
        self.patch_weight, self.identity_weight = patch_weight, identity_weight
        self.discriminator_weight, self.temperature, self.patches = discriminator_weight, temperature, patches
        self.augment = parts.augment()
        values = {"num_classes": None, **picture_values(shape)}
        generator = parts.generator(takes=["input_shape"], input_shape=shape, **values)
        discriminator = parts.discriminator(sample_shape=shape, **values)
        blank = torch.zeros(2, *shape, device=next(generator.parameters()).device)
        self.places, channels = encoding_layers(generator, blank, layers)
        projections = nn.ModuleList([Projection(count, dimensions) for count in channels]).to(blank.device)
        self.nets = nn.ModuleDict(
            {"generator": generator, "projections": projections, "discriminator": discriminator}
        )  # fmt: skip
        self.judges_rows = judges_rows(discriminator)
        self.offers = offered(discriminator, tried_out("the discriminator", discriminator, blank, None))
        self.columns = frozenset({"source", "sample"} | ({"target", "bar"} if "a_as_b" in parts.columns else set()))
        truth = ("psnr", "ssim", "l1", "psnr_bar", "ssim_bar", "l1_bar") if "target" in self.columns else ()
        self.measures = (*truth, "fd")

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]:
        self.boundary = getattr(loss, "boundary", None)
        check_needs(regularizers, self.offers, self.nets["discriminator"])
        judge: dict[str, Term] = {"adversarial": AdversarialTerm(loss.discriminator, self.discriminator_weight)}
        translate: dict[str, Term] = {"adversarial": AdversarialTerm(loss.generator)}
        if self.patch_weight:
            translate["patches"] = PatchNCE(self.patch_weight, "source", "fake")
        if self.identity_weight:
            translate["identity"] = PatchNCE(self.identity_weight, "real", "same")
        game = [Phase("discriminator", "discriminator", judge), Phase("generator", "generator", translate)]
        return regularized(game, regularizers)

    def encoded(self, generator: nn.Module, pictures: Tensor) -> list[Tensor]:
        """The features [B, C, h, w] of the chosen layers."""
        with recorded(generator, self.places) as features, contextlib.suppress(Stop):
            generator(pictures)
        return features

    # -- examples --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def examples(self, nets: nn.ModuleDict, num: int, seed: int, data: Data | None) -> Iterator[Example]:
        """`source` of domain a, `sample` (it in b) and, where it is known, `target`."""
        assert data is not None
        for rows in chosen_rows(data.lengths[data.domain_of("a")], num, seed):
            source = data.fetch("a", rows, "cpu")
            example = {"source": source, "sample": self.translate(nets, source)}
            if "target" in self.columns:
                example["target"] = data.fetch("a_as_b", rows, "cpu")
            yield example

    @torch.no_grad()
    def translate(self, nets: nn.ModuleDict, source: Tensor, direction: str = "a_to_b") -> Tensor:
        """Pictures [B, C, h, w] of any size, translated, on the CPU."""
        made: Tensor = nets["generator"](source.to(device_of(nets)))
        return made.float().cpu()

    def bar(self, columns: Mapping[str, Tensor]) -> tuple[str, Tensor]:
        """The source itself."""
        return "input", columns["source"]

    def sheet(self, examples: Example, data: Data | None) -> Sheet:
        """Rows of a picture and its translation."""
        rows = (unscale(examples[name]).numpy() for name in ("source", "sample"))
        return Sheet(beside(*rows), "from the left: a, a to b")


# -- a generator's encoder half ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def recorded(net: nn.Module, names: list[str]) -> Iterator[list[Tensor]]:
    """A context in which the outputs of these layers come into a list. After the last one it raises `Stop`."""
    features: list[Tensor] = []

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        features.append(output)
        if len(features) == len(names):
            raise Stop

    hooks = [net.get_submodule(name).register_forward_hook(note) for name in names]
    try:
        yield features
    finally:
        for hook in hooks:
            hook.remove()


def encoding_layers(generator: nn.Module, blank: Tensor, count: int) -> tuple[list[str], list[int]]:
    """Names and channels of up to `count` convolutions, spread from the first to the last before it enlarges.

    `blank` are two pictures to try it on. Raises ValueError for a generator that keeps no size or has no convolution.
    """
    seen: list[tuple[str, torch.Size]] = []
    hooks = [
        layer.register_forward_hook(lambda module, inputs, output, name=name: seen.append((name, output.shape)))
        for name, layer in generator.named_modules() if isinstance(layer, nn.Conv2d)
    ]  # fmt: skip
    try:
        made = tried_out("the generator", generator, blank)
    finally:
        for hook in hooks:
            hook.remove()
    check_shape_kept(generator, made, blank)
    if not seen:
        raise ValueError(
            f"{type(generator).__name__} has no convolution whose features can be compared; choose generator=unet"
        )
    smallest = min(shape[2] * shape[3] for _, shape in seen)
    last = max(i for i, (_, shape) in enumerate(seen) if shape[2] * shape[3] == smallest)
    chosen = sorted({round(i * last / max(count - 1, 1)) for i in range(count)})
    return [seen[i][0] for i in chosen], [seen[i][1][1] for i in chosen]
