"""One pass over samples for all measures: names, provenance, the cache of the reference, torch-fidelity's verdict."""

from __future__ import annotations

import copy
import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from gan_lab import registry
from gan_lab.datasets.fashion_mnist import DEBIAN
from gan_lab.datasets.store import Store, scale
from gan_lab.metrics.base import is_headline, short_names
from gan_lab.metrics.evaluator import Draw, Evaluator, Example
from gan_lab.metrics.reference import identity
from tests.fidelity import Pictures, register
from tests.toy_data import ToyPictures


def drawn(pictures: Tensor, label: Tensor | None = None) -> Draw:
    """Pictures uint8 [N, H, W, C] as samples of a generator, the first ones, whatever the seed."""

    def draw(num: int, seed: int) -> Iterator[Example]:
        for start in range(0, num, 64):
            rows = slice(start, min(start + 64, num))
            yield {"sample": scale(pictures[rows])} | ({} if label is None else {"label": label[rows]})

    return draw


def build(name: str, metrics: list[str] | None = None) -> tuple[Any, Evaluator]:
    registry.load()
    dataset = registry.datasets.build(OmegaConf.create({"name": name}))
    extractor = registry.feature_extractors.build(
        OmegaConf.create({"name": "auto"}), dataset=dataset, sample_shape=dataset.sample_shape
    )
    return dataset, Evaluator(dataset, lambda: dataset.load("train"), extractor, metrics)


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Evaluator]:
    return build("mnist5k")


def test_every_measure_of_real_digits_is_what_it_must_be(digits: tuple[Any, Evaluator]) -> None:
    dataset, evaluator = digits
    test = dataset.load("test").columns
    scores = evaluator(drawn(test["sample"], test["label"]), 1_000, [5], selection=False)
    found = {name.split("/")[0] + "/" + name.split("/")[-1]: entry for name, entry in scores.items()}
    value = {name: entry["value"] for name, entry in found.items()}
    assert value["fd/train"] == pytest.approx(found["fd/train"]["floor"], rel=1e-4)
    assert found["fd/train"]["floor_samples"] == 1_000
    assert abs(value["fd/test"]) < 1e-3
    assert value["memorization/train"] == pytest.approx(0.5)
    assert found["memorization/train"]["copies"] == pytest.approx(0.01, abs=0.002)
    assert value["coverage/train"] > 0.9
    assert value["class_accuracy/mnist5k-03da3a14"] > 0.97
    assert value["class_histogram/train"] < 0.02
    assert found["class_histogram/train"]["shares_of_data"] == [0.1] * 10
    assert 5 < value["inception_score/mnist5k-03da3a14"] < 10


def test_copies_of_training_pictures_are_called_memorized(digits: tuple[Any, Evaluator]) -> None:
    dataset, evaluator = digits
    train = dataset.load("train").columns["sample"]
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    scores = evaluator(drawn(train[order]), 1_000, [0])
    entry = scores["memorization/mnist5k-03da3a14/train"]
    assert (entry["value"], entry["copies"]) == (0, 1)
    assert evaluator.seen is not None
    assert torch.equal(evaluator.seen.nearest.indices, order[:1_000])


def test_a_number_says_where_it_comes_from(digits: tuple[Any, Evaluator]) -> None:
    dataset, evaluator = digits
    sample = dataset.load("test").columns["sample"]
    scores = evaluator(drawn(sample), 500, [2, 3, 4], selection=True, weights="ema 0.9", batch_norm="running", images=7)
    entry = scores["fd/mnist5k-03da3a14/train"]
    expected = {
        "samples": 500, "selection": True, "weights": "ema 0.9", "batch_norm": "running", "images": 7, "split": "train",
        "extractor": "mnist5k", "quantization": "uint8", "resize": "centre 28 of 32", "noise_seeds": [2, 3, 4],
        "better": "lower", "reference_samples": 4_000, "layer": "features (64)",
        "reference": dataset.load("train").digest[:16],
    }  # fmt: skip
    assert {name: entry[name] for name in expected} == expected
    assert entry["extractor_weights"].startswith("03da3a14")
    assert len(entry["extractor_weights"]) == 64
    assert {"gan_lab", "torch", "torch_fidelity", "python"} <= entry["versions"].keys()
    assert len(entry["values"]) == 3
    assert entry["deviation_over_noise"] == 0
    assert scores["coverage/mnist5k-03da3a14/train"]["noise_seeds"] == [2], "not a distance: of the first seed"
    assert scores["fd/mnist5k-03da3a14/test"]["reference_samples"] == 1_000


def test_distances_are_the_mean_over_noise_seeds(digits: tuple[Any, Evaluator]) -> None:
    dataset, evaluator = digits
    sample = dataset.load("test").columns["sample"]
    parts = {seed: sample[start : start + 300] for seed, start in ((1, 0), (2, 300), (3, 600))}
    folded = evaluator(lambda num, seed: drawn(parts[seed])(num, seed), 300, [1, 2, 3])
    single = [evaluator(drawn(parts[seed]), 300, [seed]) for seed in parts]
    name = "fd/mnist5k-03da3a14/train"
    values = [scores[name]["value"] for scores in single]
    assert folded[name]["values"] == pytest.approx(values)
    assert folded[name]["value"] == pytest.approx(sum(values) / 3)
    assert folded[name]["deviation_over_noise"] == pytest.approx(float(torch.tensor(values).std()), rel=1e-4)


def test_chunks_and_random_state_do_not_matter(digits: tuple[Any, Evaluator]) -> None:
    dataset, evaluator = digits
    sample = dataset.load("test").columns["sample"]
    torch.manual_seed(3)
    before = torch.get_rng_state()
    whole = evaluator(drawn(sample), 400, [0])
    ones = evaluator(lambda num, seed: ({"sample": scale(sample[i : i + 1])} for i in range(num)), 400, [0])
    assert torch.equal(torch.get_rng_state(), before)
    for name, entry in whole.items():
        assert ones[name]["value"] == pytest.approx(entry["value"], rel=1e-4, abs=1e-5), name


def test_samples_that_are_not_finite_have_no_scores(digits: tuple[Any, Evaluator]) -> None:
    _, evaluator = digits
    scores = evaluator(lambda num, seed: iter([{"sample": torch.full((num, 1, 32, 32), torch.nan)}]), 200, [0])
    assert scores["fd/mnist5k-03da3a14/train"]["value"] is None
    assert "not finite" in scores["fd/mnist5k-03da3a14/train"]["why"]


def test_torch_fidelity_says_the_same_of_the_same_features(digits: tuple[Any, Evaluator]) -> None:
    import torch_fidelity

    dataset, evaluator = digits
    assert evaluator.extractor is not None
    blurred = nn.functional.avg_pool2d(dataset.load("test").columns["sample"].permute(0, 3, 1, 2).float(), 3, 1, 1)
    blurred = blurred.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    theirs = torch_fidelity.calculate_metrics(
        input1=Pictures(blurred),
        input2=Pictures(dataset.load("train").columns["sample"]),
        feature_extractor=register("digits", evaluator.extractor),
        fid=True,
        isc=True,
        cuda=False,
        verbose=False,
        cache=False,
        batch_size=100,
    )
    ours = evaluator(drawn(blurred), 1_000, [0])
    assert ours["fd/mnist5k-03da3a14/train"]["value"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-5)
    score = ours["inception_score/mnist5k-03da3a14"]
    assert score["value"] == pytest.approx(theirs["inception_score_mean"], rel=1e-5)
    assert score["deviation"] == pytest.approx(theirs["inception_score_std"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_on_clothes_real_pictures_are_better_than_blurred_ones_and_those_than_noise() -> None:
    dataset, evaluator = build("fashion_mnist", ["fd", "coverage", "memorization"])
    columns = dataset.load("test").columns
    test, label = columns["sample"], columns["label"]
    blurred = nn.functional.avg_pool2d(test.permute(0, 3, 1, 2).float(), 3, 1, 1).round().to(torch.uint8)
    random = torch.Generator().manual_seed(0)
    train = dataset.load("train").columns["sample"]
    looked_at = {
        "test": test,
        "blur": blurred.permute(0, 2, 3, 1).contiguous(),
        "noise": torch.randint(0, 256, test.shape, dtype=torch.uint8, generator=random),
        "half": test[label < 5],
        "copies": train[torch.randperm(len(train), generator=random)],
    }
    scores = {name: evaluator(drawn(pictures), 2_000, [0]) for name, pictures in looked_at.items()}

    def value(name: str, word: str) -> float:
        return next(float(entry["value"]) for key, entry in scores[name].items() if key.startswith(f"{word}/"))

    assert value("test", "fd") < 0.4 < 2 < value("blur", "fd") < 20 < value("noise", "fd")
    assert value("half", "coverage") < 0.7 < 0.9 < value("test", "coverage")
    assert value("copies", "memorization") == 0
    assert value("test", "memorization") == pytest.approx(0.5, abs=0.02)


# -- which ones --------------------------------------------------------------------------------------------------------


def test_measures_that_cannot_be_had_are_left_out_or_refused_with_the_reason() -> None:
    toys = ToyPictures(image_size=8)  # no split test, no extractor of its own
    mean = Mean()
    able = Evaluator(toys, lambda: toys.load(), mean, None)
    assert {"fd", "kd", "coverage"} <= able.metrics.keys()
    assert not {"fd_test", "memorization", "inception_score", "class_accuracy"} & able.metrics.keys()
    for name, why in (
        ("memorization", "no held-out pictures"),
        ("inception_score", "does not classify"),
        ("fid", "belongs to feature_extractor=inception-v3-compat"),
        ("fdd", "Did you mean fd"),
    ):
        with pytest.raises(ValueError, match=why):
            Evaluator(toys, lambda: toys.load(), mean, [name])
    with pytest.raises(ValueError, match="cannot be measured: nobody made one"):
        Evaluator(toys, lambda: toys.load(), None, ["fd"], why_none="nobody made one")
    nothing = Evaluator(toys, lambda: toys.load(), None, None, why_none="nobody made one")
    assert (nothing.metrics, nothing.notes) == ({}, ["no scores: nobody made one"])


def test_a_classifier_of_other_data_says_nothing_of_classes() -> None:
    _, evaluator = build("mnist5k")
    assert "class_accuracy" in evaluator.metrics
    toys = ToyPictures(image_size=32)
    toys.num_classes = 10
    others = Evaluator(toys, lambda: toys.load(), evaluator.extractor, None)
    assert "class_accuracy" not in others.metrics
    assert "inception_score" in others.metrics


def test_too_few_samples_are_refused_where_asked_for_and_noted_elsewhere(digits: tuple[Any, Evaluator]) -> None:
    dataset, evaluator = digits
    with pytest.raises(ValueError, match=r"samples=100: kd takes 2,000"):
        evaluator.check_number(100, ["kd"], "samples")
    fresh = Evaluator(dataset, lambda: dataset.load("train"), evaluator.extractor, None)
    fresh.check_number(100, None, "samples")
    assert "kd takes 2,000" in fresh.notes[0]
    scores = fresh(drawn(dataset.load("test").columns["sample"]), 100, [0])
    assert not any(name.startswith("kd/") for name in scores)
    assert any(name.startswith("fd/") for name in scores)


def test_what_selects_a_checkpoint_is_the_first_measure_unless_named(digits: tuple[Any, Evaluator]) -> None:
    _, evaluator = digits
    assert evaluator.selecting(None, 5_000) == ("fd/mnist5k-03da3a14/train", True)
    assert evaluator.selecting("coverage", 5_000) == ("coverage/mnist5k-03da3a14/train", False)
    with pytest.raises(ValueError, match="memorization: more of it is neither better nor worse"):
        evaluator.selecting("memorization", 5_000)
    assert evaluator.selecting(None, 50) == ("class_histogram/mnist5k-03da3a14/train", True), "the distances take more"
    with pytest.raises(ValueError, match=r"select_by=kd takes evaluation\.selection_samples=2000"):
        evaluator.selecting("kd", 1_000)
    with pytest.raises(ValueError, match="Did you mean coverage"):
        evaluator.selecting("covrage", 5_000)


def test_the_reserved_words_are_those_of_the_published_inception() -> None:
    registry.load()
    fd, score = (registry.metrics.classes[name]() for name in ("fd", "inception_score"))
    assert fd.name("inception-v3-compat-6726825d") == "fid/train"
    assert score.name("inception-v3-compat-6726825d") == "is"
    assert fd.name("inception-v3-compat-0123abcd") == "fd/inception-v3-compat-0123abcd/train"


def test_tables_show_the_headlines_by_their_first_words() -> None:
    names = ["fd/a-01234567/train", "fd/a-01234567/test", "recall/a-01234567/train", "modes", "fid/train"]
    shown = [name for name in names if is_headline(name)]
    assert shown == ["fd/a-01234567/train", "modes", "fid/train"]
    assert list(short_names(dict.fromkeys(shown)).values()) == ["fd", "modes", "fid"]
    assert list(short_names(dict.fromkeys(names[:2])).values()) == names[:2], "these two need their whole names"


# -- the reference -----------------------------------------------------------------------------------------------------


class Mean(nn.Module):
    """Means of the channels in quarters: four features of a grey picture."""

    name = "mean"

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen = 0

    def forward(self, pictures: Tensor) -> Tensor:
        self.seen += len(pictures)
        return nn.functional.adaptive_avg_pool2d(pictures.float(), 2).flatten(1) * self.weight


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GAN_LAB_CACHE", str(tmp_path))
    return tmp_path


def looked(change: Callable[[Mean], object] = lambda net: None, data: Store | None = None) -> tuple[int, Evaluator]:
    """How many pictures the extractor saw to know the reference."""
    toys, net = ToyPictures(image_size=8), Mean()
    change(net)
    evaluator = Evaluator(toys, lambda: data or toys.load(), net, ["fd"])
    net.seen = 0
    _ = evaluator.reference
    return net.seen, evaluator


def test_the_reference_is_looked_at_once_and_again_when_data_weights_or_layer_change(cache: Path) -> None:
    assert looked()[0] == 96
    assert looked()[0] == 0
    assert looked(lambda net: net.weight.data.mul_(2))[0] == 96
    assert looked(lambda net: setattr(net, "layer", "other"))[0] == 96
    assert looked(lambda net: setattr(net, "resize", "other"))[0] == 96
    assert looked(lambda net: setattr(net, "settings", {"gain": 2.0}))[0] == 96
    columns = ToyPictures(image_size=8).load().columns
    columns["sample"][0, 0, 0, 0] ^= 1
    assert looked(data=Store(columns))[0] == 96
    assert looked()[0] == 0


def test_settings_are_part_of_the_name_unless_they_are_so_already_or_say_where_the_weights_lie() -> None:
    plain, strong = Mean(), Mean()
    strong.settings = {"gain": 2.0}  # type: ignore[assignment]
    assert identity(plain) != identity(strong)
    strong.settings = {"weights": "elsewhere.pt"}  # type: ignore[assignment]
    assert identity(plain) == identity(strong)
    strong.settings, strong.settings_in_name = {"layer": 64}, ("layer",)  # type: ignore[assignment]
    assert identity(plain) == identity(strong)


def test_a_split_of_too_few_pictures_is_refused_at_once() -> None:
    toys = ToyPictures(image_size=8, num=7)
    with pytest.raises(ValueError, match="split train has 7 pictures; scores compare with 10 at least"):
        Evaluator(toys, toys.load, Mean(), None).load()
    Evaluator(toys, toys.load, None, None).load()


def test_a_failure_of_a_part_is_not_taken_for_samples_that_are_not_finite() -> None:
    toys, net = ToyPictures(image_size=8), Mean()
    evaluator = Evaluator(toys, toys.load, net, ["fd"])

    def broken(pictures: Tensor) -> Tensor:
        raise ValueError("broken")

    net.forward = broken  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="broken"):
        evaluator(drawn(toys.load().columns["sample"]), 90, [0])


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_cache_is_made_again_and_that_is_said(damage: str, cache: Path) -> None:
    before = looked()[1].reference.train
    (file,) = cache.glob("features-*/features.bin")
    content = bytearray(file.read_bytes())
    content[5] ^= 64
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(content if damage == "flip" else content[:-4])
    with pytest.warns(UserWarning, match="damaged, and is made again"):
        seen, evaluator = looked()
    assert seen == 96
    assert torch.equal(evaluator.reference.train.features, before.features)
    assert looked()[0] == 0


def _ask(folder: str, results: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_LAB_CACHE", folder)
        torch.set_num_threads(1)
        results.put(looked()[0])


def test_two_processes_that_ask_at_once_look_once(cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_ask, args=(str(cache), results)) for _ in range(4)]
    for process in processes:
        process.start()
    seen = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(seen) == [0, 0, 0, 96]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_says_the_same() -> None:
    dataset, on_cpu = build("mnist5k")
    on_gpu = Evaluator(dataset, lambda: dataset.load("train"), copy.deepcopy(on_cpu.extractor), None, device="cuda")
    sample = dataset.load("test").columns["sample"]
    expected, found = (evaluator(drawn(sample), 1_000, [0]) for evaluator in (on_cpu, on_gpu))
    for name, entry in expected.items():
        assert found[name]["value"] == pytest.approx(entry["value"], rel=1e-3, abs=1e-3), name
