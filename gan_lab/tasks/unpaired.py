"""Unpaired translation: two generators between two domains of pictures, and a discriminator for each domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gan_lab.core.forward_pass import ForwardPass
from gan_lab.core.runtime import judges_rows
from gan_lab.core.types import AdversarialLoss, AdversarialTerm, Data, Phase, Term, per_sample, regularized
from gan_lab.datasets.store import unscale
from gan_lab.display.pictures import Sheet, beside
from gan_lab.registry import NonNegative, Weight, tasks
from gan_lab.tasks.contract import Example, Parts, Task, chosen_rows, device_of, picture_values, tried_out
from gan_lab.tasks.judged import check_needs, offered
from gan_lab.tasks.picture_pool import PicturePool
from gan_lab.tasks.sides import Side, Sided, for_each_side

DOMAINS = ("a", "b")
TO = {"a": "b_to_a", "b": "a_to_b"}  # the generator that makes pictures of a domain
OTHER = {"a": "b", "b": "a"}
TRUTH = {"a": "b_as_a", "b": "a_as_b"}  # columns of data that know how the other domain's pictures look in this one


class UnpairedPass(ForwardPass):
    """Pictures of both domains, each also translated to the other domain, and what makes of each domain one side."""

    task: Unpaired

    @cached_property
    def real(self) -> dict[str, Tensor]:
        """Pictures [B, C, H, W] of each domain. Row i of one has nothing to do with row i of the other."""
        return {domain: self.data(domain) for domain in DOMAINS}

    @cached_property
    def fake(self) -> dict[str, Tensor]:
        """By domain: the other domain's pictures, translated to it."""
        return {domain: self.keep(domain, "generator", lambda to=domain: self.made(to)) for domain in DOMAINS}  # type: ignore[misc]

    def made(self, domain: str) -> Tensor:
        made: Tensor = self.net(TO[domain])(self.real[OTHER[domain]])
        return made

    @cached_property
    def sides(self) -> dict[str, Side]:
        return {domain: DomainSide(self, domain) for domain in DOMAINS}

    def observe(self) -> Mapping[str, Tensor]:
        """What either discriminator's side has to say, joined."""
        a, b = (self.sides[domain].observe() for domain in DOMAINS)
        return {name: torch.cat([value.flatten(), b[name].flatten()]) for name, value in a.items()}


class DomainSide(Side):
    """Pictures of one domain are real; fakes are the other's, translated. D also sees earlier ones, from the pool."""

    task: Unpaired

    @cached_property
    def real(self) -> Tensor:
        return self.probe("real", self.whole.real[self.name])

    @cached_property
    def fake(self) -> Tensor:
        made = self.whole.fake[self.name]
        if self.task.pool is not None and self.phase.player == "discriminator":
            pool, draws = self.task.pool[self.name], self.draw("pool", 2, kind="uniform")
            ranks = self.game.runtime  # all have the same pool, through which all of their pictures go
            made, draws = ranks.gather(made), ranks.gather(draws)
            made = pool(made, draws, keep=self.phase.name == "discriminator")  # once a step: not in lazy phases, too
            made = ranks.own(made)
        return self.probe("fake", made)


class CycleConsistency:
    """|F(G(a)) - a| + |G(F(b)) - b|, means over a picture, [B] (Zhu et al. 2017, eq. 2): translated there and back."""

    probes: frozenset[str] = frozenset()

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, forward: Any) -> Tensor:
        back = {domain: forward.net(TO[domain])(forward.fake[OTHER[domain]]) for domain in DOMAINS}
        return sum_of_gaps(back, forward.real)


class IdentityMapping:
    """|F(a) - a| + |G(b) - b|, means over a picture, [B] (Zhu et al. 2017, section 5.2): keeps tints of what fits."""

    probes: frozenset[str] = frozenset()

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, forward: Any) -> Tensor:
        same = {domain: forward.net(TO[domain])(forward.real[domain]) for domain in DOMAINS}
        return sum_of_gaps(same, forward.real)


def sum_of_gaps(made: Mapping[str, Tensor], real: Mapping[str, Tensor]) -> Tensor:
    gaps = (per_sample((made[domain].float() - real[domain]).abs()) for domain in DOMAINS)
    return torch.stack([*gaps]).sum(0)


@tasks.register("unpaired")
class Unpaired(Task):
    """CycleGAN (Zhu et al. 2017, arXiv 1703.10593): pictures of domain a look like those of b, and back, without pairs.

    Both generators are one player, both discriminators another. G minimizes, for both directions,  adversarial +
    cycle_weight * cycle + identity_weight * identity  (eq. 3 and section 5.2; a weight of 0 leaves a term out). The
    paper has a least squares loss of twice the size of `loss=least_squares`: its ratios are half of its weights, 5 and
    2.5. D's fakes go through a pool of `pool_size` pictures, 0 for none. Data have columns `a` and `b`, of two domains;
    where they know the truth, as `a_as_b` and `b_as_a`, it is for scores alone. Raises ValueError for data without two
    domains of one shape, and for networks that do not fit them.
    """

    players: Mapping[str, tuple[str, ...]] = {
        "generator": ("a_to_b", "b_to_a"),
        "discriminator": ("discriminator_a", "discriminator_b"),
    }
    averaged = ("a_to_b", "b_to_a")
    directions: ClassVar[Mapping[str, tuple[str, str]]] = {"a_to_b": ("a", "b"), "b_to_a": ("b", "a")}
    forward_pass = UnpairedPass
    reference = "b"
    needs_data = deterministic = translates = True
    conditional = False  # no network looks at labels
    for_training = frozenset({"pool"})

    def __init__(
        self,
        parts: Parts,
        sample_shape: tuple[int, ...],
        *,
        cycle_weight: Weight = 10.0,
        identity_weight: Weight = 5.0,
        discriminator_weight: Weight = 1.0,
        pool_size: NonNegative = 50,
    ) -> None:
        shape = shape_of_both(parts, "unpaired")
        self.cycle_weight, self.identity_weight = cycle_weight, identity_weight
        self.discriminator_weight = discriminator_weight
        self.augment = parts.augment()
        self.nets = nn.ModuleDict()
        values = {"num_classes": None, **picture_values(shape)}
        for net in self.averaged:
            self.nets[net] = parts.generator(takes=["input_shape"], input_shape=shape, **values)
        for net in self.players["discriminator"]:
            self.nets[net] = parts.discriminator(sample_shape=shape, **values)
        self.pool: nn.ModuleDict | None = None
        if pool_size:
            self.pool = nn.ModuleDict({domain: PicturePool(pool_size, shape) for domain in DOMAINS})
        self.judges_rows = judges_rows(self.nets["discriminator_a"])
        self.offers = self._try_out(shape)
        columns = {"source", "sample", "cycled", "reverse_source", "reverse_sample", "reverse_cycled"}
        self.knows_truth = set(TRUTH.values()) <= parts.columns.keys()
        self.columns = frozenset(columns | ({"target", "reverse_target", "bar"} if self.knows_truth else set()))
        self.measures = (*(WITH_TRUTH if self.knows_truth else ()), "fd")

    def _try_out(self, shape: tuple[int, ...]) -> set[str]:
        """Two rows through a generator and a discriminator. Returns what D's output has besides logits."""
        blank = torch.zeros(2, *shape, device=device_of(self.nets))
        check_shape_kept(self.nets["a_to_b"], tried_out("the generator", self.nets["a_to_b"], blank), blank)
        judge = self.nets["discriminator_a"]
        return offered(judge, tried_out("the discriminator", judge, blank, None))

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]:
        """D's and G's phases. A regularizer of what a discriminator judges has a copy for each domain."""
        self.boundary = getattr(loss, "boundary", None)
        check_needs(regularizers, self.offers, self.nets["discriminator_a"])
        judge: dict[str, Term] = {}
        translate: dict[str, Term] = {}
        for domain in DOMAINS:
            name = f"adversarial_{domain}"
            judge[name] = Sided(AdversarialTerm(loss.discriminator, self.discriminator_weight), domain)
            translate[name] = Sided(AdversarialTerm(loss.generator), domain)
        if self.cycle_weight:
            translate["cycle"] = CycleConsistency(self.cycle_weight)
        if self.identity_weight:
            translate["identity"] = IdentityMapping(self.identity_weight)
        game = [Phase("discriminator", "discriminator", judge), Phase("generator", "generator", translate)]
        return regularized(game, for_each_side(regularizers, DOMAINS))

    # -- examples --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def examples(self, nets: nn.ModuleDict, num: int, seed: int, data: Data | None) -> Iterator[Example]:
        """Rows of both domains, each once: `source` of a, `sample` (it in b), `cycled` (that back in a), `target`.

        The same from b to a as `reverse_source`, ... Where one domain has fewer rows, there are as many examples.
        """
        assert data is not None
        lengths = {domain: data.lengths[data.domain_of(domain)] for domain in DOMAINS}
        num = min(num, *lengths.values())
        for rows in zip(*(chosen_rows(lengths[domain], num, seed) for domain in DOMAINS), strict=True):
            example: Example = {}
            for of, of_rows, start in zip(DOMAINS, rows, ("", "reverse_"), strict=True):
                to = OTHER[of]
                example[f"{start}source"] = source = data.fetch(of, of_rows, "cpu")
                example[f"{start}sample"] = made = self.translate(nets, source, TO[to])
                example[f"{start}cycled"] = self.translate(nets, made, TO[of])
                if self.knows_truth:
                    example[f"{start}target"] = data.fetch(TRUTH[to], of_rows, "cpu")
            yield example

    @torch.no_grad()
    def translate(self, nets: nn.ModuleDict, source: Tensor, direction: str = "a_to_b") -> Tensor:
        """Pictures [B, C, h, w] of any size translated in one of the `directions`, on the CPU."""
        made: Tensor = nets[direction](source.to(device_of(nets)))
        return made.float().cpu()

    def bar(self, columns: Mapping[str, Tensor]) -> tuple[str, Tensor]:
        """The source itself."""
        return "input", columns["source"]

    def sheet(self, examples: Example, data: Data | None) -> Sheet:
        """Rows of a picture, its translation, and that translated back, from a and from b."""
        names = [f"{start}{name}" for start in ("", "reverse_") for name in ("source", "sample", "cycled")]
        rows = (unscale(examples[name]).numpy() for name in names)
        return Sheet(beside(*rows), "from the left: a, a to b, back; b, b to a, back")


WITH_TRUTH = (
    "psnr", "ssim", "l1", "psnr_b_to_a", "ssim_b_to_a", "l1_b_to_a", "psnr_bar", "ssim_bar", "l1_bar",
)  # fmt: skip


def shape_of_both(parts: Parts, task: str) -> tuple[int, int, int]:
    """The shape of the pictures of both domains. Raises ValueError, which names the task, where there is none."""
    a, b = (parts.columns.get(domain) for domain in DOMAINS)
    if a is None or b is None or a.kind != "picture" or b.kind != "picture":
        raise ValueError(
            f"task={task} wants pictures of two domains: choose dataset=two_folders, with folders of your own, or "
            "emoji or photographs_and_prints"
        )
    if a.shape != b.shape or a.dtype != b.dtype:
        said = (f"{column.dtype} of {' x '.join(map(str, column.shape))}" for column in (a, b))
        raise ValueError(
            f"task={task}: domain a has {' and b '.join(said)} (channels x height x width); make them equal, as "
            "dataset.image_size and dataset.image_channels of dataset=two_folders do"
        )
    shape: tuple[int, int, int] = a.shape
    return shape


def check_shape_kept(generator: nn.Module, made: Tensor, source: Tensor) -> None:
    """Raise ValueError where a generator makes pictures of another shape than its source's."""
    if made.shape != source.shape:
        raise ValueError(
            f"{type(generator).__name__} makes pictures of shape {tuple(made.shape[1:])} of {tuple(source.shape[1:])}; "
            "this task wants the same; choose another generator"
        )
