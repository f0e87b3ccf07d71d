"""Sentences of a text file, one a line: a user's own text, and what other data sets of sentences share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from gan_lab.core.files import BadFile, read_text
from gan_lab.datasets.store import Store
from gan_lab.datasets.vocabulary import SEPARATORS, Unit, Vocabulary, is_held_out, tokenizer
from gan_lab.registry import Positive, Share, datasets, unknown

LARGEST = 1 << 30  # bytes of a text file
Named = list[tuple[str, Sequence[str]]]  # tokens of sentences, with the place of each


class Sentences:
    """Base of data sets of sentences: column `sample`, tokens int64 [N, length], from sentences that fit, by split."""

    num_classes = None

    def __init__(
        self,
        sentences: Mapping[str, Sequence[Sequence[str]]],
        vocabulary: Vocabulary,
        length: int,
        skipped: Mapping[str, str] | None = None,
    ) -> None:
        self.sentences, self.vocabulary, self.length = sentences, vocabulary, length
        self.skipped = skipped or {}
        self.splits = tuple(split for split, kept in sentences.items() if kept)
        self.sample_shape = (length,)
        self.columns = {"sample": vocabulary.column(length)}

    def load(self, split: str = "train") -> Store:
        """Raises ValueError for a split that it does not have."""
        if split not in self.splits:
            raise unknown("split", split, self.splits)
        rows = torch.from_numpy(self.vocabulary.encode(self.sentences[split], self.length))
        return Store({"sample": rows}, self.skipped if split == "train" else None)


def by_split(sentences: Sequence[Sequence[str]], share: float) -> dict[str, list[Sequence[str]]]:
    """Sentences to train on, and about that share of them held out, by a hash of each: equal ones stay together."""
    splits: dict[str, list[Sequence[str]]] = {"train": [], "test": []}
    for sentence in sentences:
        splits["test" if is_held_out(sentence, share) else "train"].append(sentence)
    return splits


@datasets.register("text")
class Text(Sentences):
    """A text file of one sentence a line, in UTF-8, by words or by characters. Empty lines are left out.

    The vocabulary is that of the sentences to train on, its `vocabulary_size` most frequent words or all. Sentences of
    more than `length` tokens, and those with words that are not in the vocabulary, are refused, or with `skip_misfits`
    left out, named and counted. Held out are the sentences of `test_path`, else about `test_share` of them, chosen by a
    hash, so that equal sentences stay in one split. Raises ValueError for a file that cannot be read or is empty.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        test_path: str | None = None,
        test_share: Share = 0.1,
        unit: Unit = "word",
        length: Positive = 32,
        vocabulary_size: Positive | None = None,
        skip_misfits: bool = False,
    ) -> None:
        if path is None:
            raise ValueError("dataset=text needs dataset.path=FILE, a text of one sentence a line")
        split = tokenizer(unit)
        train = _lines("dataset.path", path, split)
        test: Named = []
        if test_path is not None:
            test = _lines("dataset.test_path", test_path, split)
        else:
            test = [named for named in train if is_held_out(named[1], test_share)]
            train = [named for named in train if not is_held_out(named[1], test_share)]
        if not train:
            raise ValueError(f"dataset.path={path}: all sentences are held out; lower dataset.test_share={test_share}")
        vocabulary = Vocabulary.of((words for _, words in train), SEPARATORS[unit], vocabulary_size)
        skipped: dict[str, str] = {}
        kept = {name: _kept(named, vocabulary, length, skipped) for name, named in (("train", train), ("test", test))}
        if skipped and not skip_misfits:
            place, why = next(iter(skipped.items()))
            raise ValueError(
                f"{place}: {why}; raise dataset.length or dataset.vocabulary_size, change the line, or leave such "
                f"sentences out by dataset.skip_misfits=true ({len(skipped):,} in all)"
            )
        if not kept["train"]:
            raise ValueError(f"dataset.path={path}: no sentence has at most dataset.length={length} known tokens")
        super().__init__(kept, vocabulary, length, skipped)


def _kept(named: Named, vocabulary: Vocabulary, length: int, skipped: dict[str, str]) -> list[Sequence[str]]:
    """The sentences that fit; the others are noted in `skipped`, with the reason."""
    reasons = {place: vocabulary.misfit(words, length) for place, words in named}
    skipped.update({place: why for place, why in reasons.items() if why is not None})
    return [words for place, words in named if reasons[place] is None]


def _lines(key: str, path: str, split: Callable[[str], list[str]]) -> Named:
    """The tokens of each line that has some, with its place."""
    file = Path(path).expanduser()
    try:
        text = read_text(file, LARGEST)
    except (OSError, BadFile) as error:
        why = " ".join(str(error).split())
        raise ValueError(f"{key}={path} cannot be read ({why}); give a text file in UTF-8") from error
    lines: Named = [(f"{file}:{number}", split(line.strip())) for number, line in enumerate(text.splitlines(), 1)]
    if not (found := [(place, words) for place, words in lines if words]):
        raise ValueError(f"{key}={path} is empty; give a text of one sentence a line")
    return found
