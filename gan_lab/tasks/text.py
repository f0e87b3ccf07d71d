"""Text: a generator of tokens learns by likelihood first, then against a discriminator, through Gumbel-softmax."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from gan_lab.core.runtime import judges_rows
from gan_lab.core.types import AdversarialLoss, AdversarialTerm, Data, Phase, Term, regularized
from gan_lab.datasets.bigram import previous
from gan_lab.datasets.vocabulary import END, Vocabulary, in_sentence
from gan_lab.display.pictures import Sheet
from gan_lab.generators.tokens import sampled
from gan_lab.registry import Bounds, NonNegative, Positive, tasks
from gan_lab.tasks.contract import Example, Parts, RowDraws, Task, chosen_rows, device_of, tried_out
from gan_lab.tasks.judged import JudgedPass, check_needs, offered

Coldness = Annotated[float, Bounds(1.0, 1e6)]


class TextPass(JudgedPass):
    """Sentences as one-hot rows are real; the generator's relaxed ones, [B, L, V] too, are fake."""

    shared = ("gumbel",)
    task: Text

    @cached_property
    def tokens(self) -> Tensor:
        return self.data("sample")

    @cached_property
    def real(self) -> Tensor:
        return self.probe("real", one_hot(self.tokens, self.task.vocabulary_size).float())

    @cached_property
    def fake(self) -> Tensor:
        return self.probe("fake", self.keep("fake", "generator", self._relaxed))

    def _relaxed(self) -> Tensor:
        noise = gumbel(self.draw("gumbel", self.task.length, self.task.vocabulary_size, kind="uniform"))
        task, generator = self.task, self.net("generator")
        return relaxed(generator, noise, task.inverse_temperature(self.game.images), hard=task.straight_through)


def gumbel(uniform: Tensor) -> Tensor:
    """Standard Gumbel numbers from uniform ones in [0, 1), in place."""
    return uniform.clamp_(min=1e-20).log_().neg_().log_().neg_()


def relaxed(generator: Any, noise: Tensor, beta: float, *, hard: bool) -> Tensor:
    """Sentences [B, L, V]: softmax(beta (logits + Gumbel noise)), where the generator is fed the largest entries.

    Nie, Narodytska and Patel 2019 (ICLR), eq. 4 and 5: the tokens fed back have no gradient, so the logits of all
    positions come from one pass over the drawn tokens. After the end of a sentence, rows are exactly one-hot. `hard`
    gives the drawn tokens themselves, with the gradient of the relaxed ones (straight-through: Jang et al. 2017, arXiv
    1611.01144, section 2.2).
    """
    tokens = sampled(generator, noise)
    logits, _ = generator(previous(tokens))
    soft = ((logits.float() + noise) * beta).softmax(2)
    drawn = one_hot(tokens, noise.shape[2]).to(soft.dtype)
    if hard:
        soft = drawn + soft - soft.detach()
    return torch.where(in_sentence(tokens)[..., None], soft, drawn)


def token_losses(generator: Any, tokens: Tensor) -> Tensor:
    """-log p(token | those before it) in nats, [B, L], 0 after the end of a sentence."""
    logits, _ = generator(previous(tokens))
    losses = cross_entropy(logits.float().transpose(1, 2), tokens, reduction="none")
    return losses * in_sentence(tokens)


class Likelihood:
    """The negative log-likelihood of the data in nats a token: teacher forcing (Williams and Zipser 1989). A scalar."""

    probes: frozenset[str] = frozenset()
    weight = 1.0

    def __call__(self, forward: Any) -> Tensor:
        losses = token_losses(forward.net("generator"), forward.tokens)
        return losses.sum() / in_sentence(forward.tokens).sum()


@tasks.register("text")
class Text(Task):
    """RelGAN (Nie, Narodytska and Patel 2019, ICLR) with any generator of tokens, discriminator and loss.

    In the first `likelihood_images` sentences G learns by likelihood alone, as player `likelihood`, whose optimizer can
    have another rate: `optimizer/likelihood`. In the game, D sees what G draws as softmax(beta (logits + noise)), where
    beta grows from 1 to `coldness` as coldness^(n / N) over `cooling_images` (section 2.2, exponential). Raises
    ValueError for data without tokens, and for networks that do not fit them.
    """

    players: Mapping[str, tuple[str, ...]] = {
        "likelihood": ("generator",), "generator": ("generator",), "discriminator": ("discriminator",),
    }  # fmt: skip
    averaged = ("generator",)
    forward_pass = TextPass
    columns = frozenset({"sample", "held_out", "nll"})
    measures = (
        "oracle_nll", "oracle_nll_bigram", "oracle_nll_real", "held_out_nll", "held_out_nll_bigram",
        *(f"{word}{suffix}" for word in ("bleu2", "bleu3", "bleu4", "bleu5", "self_bleu", "distinct2")
          for suffix in ("", "_bigram", "_real")),
    )  # fmt: skip
    needs_data = True

    def __init__(
        self,
        parts: Parts,
        sample_shape: tuple[int, ...],
        *,
        likelihood_images: NonNegative = 40_000,
        coldness: Coldness = 100.0,
        cooling_images: Positive = 20_000,
        straight_through: bool = False,
    ) -> None:
        column = parts.columns.get("sample")
        if column is None or column.kind != "tokens":
            raise ValueError("task=text wants sentences: choose dataset=text, wordnet, quatrains or oracle")
        self.vocabulary = Vocabulary.of_column(column)
        self.conditions = f"vocabulary {self.vocabulary.digest[:12]} of {len(self.vocabulary):,}"
        self.length, self.vocabulary_size = sample_shape[0], len(self.vocabulary)
        self.selects_from = self.likelihood_images = likelihood_images
        self.coldness, self.cooling_images, self.straight_through = coldness, cooling_images, straight_through
        sizes = {"vocabulary_size": self.vocabulary_size, "length": self.length}
        self.nets = nn.ModuleDict(
            {
                "generator": parts.generator(takes=list(sizes), **sizes),
                "discriminator": parts.discriminator(
                    sample_shape=(self.length, self.vocabulary_size), num_classes=None, **sizes
                ),
            }
        )
        self.augment = parts.augment()  # pictures' ones are refused: there is no image_size
        self.conditional = False  # no network looks at labels
        self.judges_rows = judges_rows(self.nets["discriminator"])
        self.offers = self._try_out()

    def _try_out(self) -> set[str]:
        """Two rows through both networks. Returns what D's output has besides logits."""
        tokens = torch.full((2, self.length), END, device=device_of(self.nets))
        generator, discriminator = self.nets["generator"], self.nets["discriminator"]
        logits, _ = tried_out("the generator", generator, tokens)
        wanted = (2, self.length, self.vocabulary_size)
        if tuple(logits.shape) != wanted:
            raise ValueError(f"{type(generator).__name__} makes logits of shape {tuple(logits.shape)}, not {wanted}")
        judged = tried_out("the discriminator", discriminator, torch.zeros_like(logits), None)
        return offered(discriminator, judged)

    def inverse_temperature(self, images: int) -> float:
        """beta after so many images: 1 where the game begins, then growing to `coldness`."""
        share = (images - self.likelihood_images) / self.cooling_images
        return float(self.coldness ** min(max(share, 0.0), 1.0))

    def phases(self, loss: AdversarialLoss, regularizers: Mapping[str, Any]) -> list[Phase]:
        """The likelihood stage, if there is one, and the game. Regularizers belong to the game."""
        self.boundary = getattr(loss, "boundary", None)
        check_needs(regularizers, self.offers, self.nets["discriminator"])
        start = self.likelihood_images
        judge: dict[str, Term] = {"adversarial": AdversarialTerm(loss.discriminator)}
        write: dict[str, Term] = {"adversarial": AdversarialTerm(loss.generator)}
        game = [
            Phase("discriminator", "discriminator", judge, start=start),
            Phase("generator", "generator", write, start=start),
        ]
        alone = [Phase("likelihood", "likelihood", {"likelihood": Likelihood()}, stop=start)] if start else []
        return [*alone, *regularized(game, regularizers)]

    @torch.no_grad()
    def examples(self, nets: nn.ModuleDict, num: int, seed: int, data: Data | None) -> Iterator[Example]:
        """Of rows of the data, each once: `held_out` tokens, their `nll` [n] in nats, and a drawn `sample` beside each.

        Tokens are int64 [n, L].
        """
        assert data is not None
        device, generator = device_of(nets), nets["generator"]
        for rows in chosen_rows(len(data), num, seed):
            held_out = data.fetch("sample", rows, "cpu")
            noise = RowDraws(rows, seed)("gumbel", self.length, self.vocabulary_size, kind="uniform")
            nll = token_losses(generator, held_out.to(device)).double().sum(1)
            yield {
                "sample": sampled(generator, gumbel(noise).to(device)).cpu(),
                "held_out": held_out,
                "nll": nll.cpu(),
            }

    def sheet(self, examples: Example, data: Data | None) -> Sheet:
        """A drawn sentence a line."""
        return Sheet("".join(f"{line}\n" for line in self.vocabulary.text(examples["sample"])))
