"""Chinese quatrains of the Tang and Song dynasties, four lines of five characters each."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Literal

import numpy as np

from gan_lab.datasets.cache import Rows, cache_folder, cached, content_key
from gan_lab.datasets.sentences import Sentences, by_split
from gan_lab.datasets.sources import DAMAGED, file_digest, given_folder, one_line
from gan_lab.datasets.vocabulary import SEPARATORS, Vocabulary
from gan_lab.registry import Positive, datasets

PACKAGE = "chinese-poetry-2.0.1.tgz"
DIGEST = "25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86"  # SHA-256 of the npm package
POEMS = re.compile(r"package/dist/quantangshi/poet\.(tang|song)\.\d+\.json")
MARKS = "，。？！；、"  # noqa: RUF001
QUATRAIN = re.compile(f"(?:[^{MARKS}\\s]{{5}}[{MARKS}]){{4}}")
LENGTH = 20  # characters; marks are left out
HELD_OUT = 0.1


@datasets.register("quatrains")
class Quatrains(Sentences):
    """16,878 quatrains (3,757 Tang, 13,147 Song, 26 in both), by characters, without marks: rows of 20 tokens.

    From the npm package chinese-poetry 2.0.1 (MIT), which lies in `path`, or in the folder `downloads` of the cache.
    Only quatrains of the `vocabulary_size` most frequent characters are kept. A tenth is held out, by a hash. Raises
    ValueError where the package is missing or not the published one, with the command that fetches it.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        dynasty: Literal["tang", "song", "both"] = "both",
        vocabulary_size: Positive | None = 2500,
    ) -> None:
        self.folder = given_folder(path) or cache_folder() / "downloads"
        columns = cached("quatrains", content_key(DIGEST, 1), lambda skipped: self._rows()).columns
        of = (columns["song"] == 0) if dynasty == "tang" else (columns["song"] == 1) if dynasty == "song" else ...
        poems = sorted({"".join(map(chr, row)) for row in columns["characters"][of].tolist()})
        vocabulary = Vocabulary.of(poems, SEPARATORS["character"], vocabulary_size)
        kept = [poem for poem in poems if vocabulary.misfit(poem, LENGTH) is None]
        if not kept:
            raise ValueError(f"dataset.vocabulary_size={vocabulary_size}: no quatrain has so few different characters")
        super().__init__(by_split(kept, HELD_OUT), vocabulary, LENGTH)

    def _rows(self) -> Rows:
        """Code points int64 [N, 20] of the quatrains, and whether each is of the Song dynasty."""
        file = self.folder / PACKAGE
        try:
            if file_digest(file) != DIGEST:
                raise OSError("its SHA-256 is not that of the published package")
            found = _quatrains(file)
        except DAMAGED as error:
            raise ValueError(
                f"dataset=quatrains cannot read {file} ({one_line(error)}); fetch it by: mkdir -p {self.folder} && "
                f"npm pack --pack-destination {self.folder} chinese-poetry@2.0.1"
            ) from error
        for dynasty, poems in found.items():
            points = np.array([list(map(ord, poem)) for poem in sorted(poems)], dtype=np.int64)
            yield {"characters": points, "song": np.full(len(points), dynasty == "song", dtype=np.int64)}


def _quatrains(package: Path) -> dict[str, set[str]]:
    """The quatrains by dynasty, without marks."""
    found: dict[str, set[str]] = {"tang": set(), "song": set()}
    with tarfile.open(package) as archive:
        for member in archive:
            named = POEMS.fullmatch(member.name)
            if named and (content := archive.extractfile(member)):
                texts = ("".join(poem["paragraphs"]) for poem in json.load(content))
                found[named[1]] |= {re.sub(f"[{MARKS}]", "", text) for text in texts if QUATRAIN.fullmatch(text)}
    return found
