"""Sentences as rows of word numbers, and back. Number 0 ends a sentence, and fills the rest of its row."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from torch import Tensor

from gan_lab.core.files import printable
from gan_lab.datasets.columns import Column

END = 0
MOST_WORDS = 65_536  # of a vocabulary: a generator draws so many numbers for each token
WORD = re.compile(r"\w+(?:['\u2019-]\w+)*|[^\w\s]")
Unit = Literal["word", "character"]


@dataclass(frozen=True)
class Vocabulary:
    """The words of a data set by their numbers, and what stands between them."""

    words: tuple[str, ...]  # the first one is "", the end of a sentence
    separator: str = " "

    @classmethod
    def of(cls, sentences: Iterable[Sequence[str]], separator: str = " ", most: int | None = None) -> Vocabulary:
        """The `most` frequent words, or all; equally frequent ones by their code points.

        Raises ValueError for more words than a vocabulary may have.
        """
        counts = Counter(word for sentence in sentences for word in sentence)
        words = sorted(counts, key=lambda word: (-counts[word], word))[:most]
        if len(words) >= MOST_WORDS:
            raise ValueError(
                f"the text has {len(words):,} different words, more than {MOST_WORDS:,}: keep the most frequent ones "
                "by dataset.vocabulary_size, or choose dataset.unit=character"
            )
        return cls(("", *words), separator)

    @classmethod
    def of_column(cls, column: Column) -> Vocabulary:
        return cls(column.vocabulary, column.separator)

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the words in their order."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def column(self, length: int) -> Column:
        """Of rows of so many tokens."""
        return Column(
            "tokens", (length,), "int64", num_classes=len(self), vocabulary=self.words, separator=self.separator
        )

    def misfit(self, sentence: Sequence[str], length: int) -> str | None:
        """Why a sentence does not fit into a row of so many tokens; None where it does."""
        if len(sentence) > length:
            return f"{len(sentence):,} tokens are more than dataset.length={length}"
        unknown = next((word for word in sentence if word not in self.numbers), None)
        return None if unknown is None else f"“{printable(unknown)}” is not in the vocabulary"

    def encode(self, sentences: Sequence[Sequence[str]], length: int) -> np.ndarray:
        """int64 [N, length], of sentences that fit."""
        rows = np.full((len(sentences), length), END, dtype=np.int64)
        for row, sentence in zip(rows, sentences, strict=True):
            row[: len(sentence)] = [self.numbers[word] for word in sentence]
        return rows

    def text(self, tokens: Tensor) -> list[str]:
        """The sentences of rows of tokens [N, L], each up to its end."""
        return [self.separator.join(self.words[number] for number in ended(row)) for row in tokens.tolist()]


def ended(row: Sequence[int]) -> Sequence[int]:
    """The tokens before the end of a sentence."""
    return row[: row.index(END)] if END in row else row


def tokenizer(unit: Unit) -> Callable[[str], list[str]]:
    """From a line to its tokens: words and marks, with what is joined by hyphens and apostrophes in one; or characters.

    >>> tokenizer("word")("Don't stop, half-way!")
    ["Don't", 'stop', ',', 'half-way', '!']
    """
    return WORD.findall if unit == "word" else list


SEPARATORS: Mapping[Unit, str] = {"word": " ", "character": ""}


def is_held_out(sentence: Sequence[str], share: float) -> bool:
    """Whether a sentence is in split "test", by a hash of it: equal ones stay together, and no other one matters."""
    digest = hashlib.sha256("\n".join(sentence).encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def in_sentence(tokens: Tensor) -> Tensor:
    """Which of the tokens [N, L] belong to their sentence: those up to its first end, which is one of them."""
    ends = tokens == END
    return ends.cumsum(1) - ends.long() == 0
