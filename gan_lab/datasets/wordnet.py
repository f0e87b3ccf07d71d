"""The example sentences of WordNet (Fellbaum 1998, MIT Press): 48,214 short ones in lower case."""

from __future__ import annotations

import re
from pathlib import Path

from gan_lab.core.files import BadFile, read_text
from gan_lab.datasets.sentences import Sentences, by_split
from gan_lab.datasets.sources import given_folder
from gan_lab.datasets.vocabulary import SEPARATORS, Vocabulary, tokenizer
from gan_lab.registry import Positive, datasets

DEBIAN = Path("/usr/share/wordnet")  # where Debian's package wordnet-base puts them
FILES = ("data.adj", "data.adv", "data.noun", "data.verb")
LARGEST = 64 << 20  # bytes of a file; data.noun has 15e6
QUOTED = re.compile(r'"([^"]+)"')
SHORTEST = 3  # tokens; shorter ones are phrases of two words
HELD_OUT = 0.1


@datasets.register("wordnet")
class WordNet(Sentences):
    """What stands in quotation marks in WordNet 3.0's glosses, by words, each once, of 3 to `length` tokens.

    From `path`, a folder with data.adj, data.adv, data.noun and data.verb, else from Debian's package wordnet-base.
    Only sentences of the `vocabulary_size` most frequent words are kept: of 40,386 with up to 12 tokens, 7,666 consist
    of the 3,000 most frequent ones. A tenth is held out. Raises ValueError where the files are missing.
    """

    def __init__(
        self, *, path: str | None = None, length: Positive = 12, vocabulary_size: Positive | None = 3000
    ) -> None:
        folder = given_folder(path) or DEBIAN
        split = tokenizer("word")
        known = sorted({tuple(split(sentence.lower())) for name in FILES for sentence in _quoted(folder / name)})
        fitting = [words for words in known if SHORTEST <= len(words) <= length]
        vocabulary = Vocabulary.of(fitting, SEPARATORS["word"], vocabulary_size)
        kept = [words for words in fitting if vocabulary.misfit(words, length) is None]
        if not kept:
            raise ValueError(f"dataset.length={length}: no sentence of at most so many tokens; raise it to {SHORTEST}")
        super().__init__(by_split(kept, HELD_OUT), vocabulary, length)


def _quoted(file: Path) -> list[str]:
    """The quotations in the glosses of a file, whose lines are `<synset> | <gloss>`."""
    try:
        lines = read_text(file, LARGEST, errors="replace").splitlines()
    except (OSError, BadFile) as error:
        why = " ".join(str(error).split())
        raise ValueError(
            f"dataset=wordnet cannot read {file} ({why}); apt-get install wordnet-base, or give dataset.path=FOLDER"
        ) from error
    return [quoted for line in lines for quoted in QUOTED.findall(line.partition(" | ")[2])]
