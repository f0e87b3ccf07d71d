"""`gan-lab evaluate`: scores of a trained run, or of pictures from another generator."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor

from gan_lab import registry
from gan_lab.config.composition import compose
from gan_lab.config.hydra_store import publish, without_hydra
from gan_lab.config.overrides import parse
from gan_lab.config.sections import Evaluation
from gan_lab.core.files import write_atomically
from gan_lab.core.runtime import choose_device, inference
from gan_lab.datasets.columns import described
from gan_lab.datasets.decoding import LOSSY, files_of, read_exactly
from gan_lab.datasets.store import scale
from gan_lab.display.pictures import save_image
from gan_lab.display.terminal import terminal, wide_terminal
from gan_lab.metrics.evaluator import Draw, Evaluator, Example, Scores
from gan_lab.metrics.reference import BATCH
from gan_lab.metrics.suspects import suspects
from gan_lab.run.assembly import build_evaluator, data_set
from gan_lab.run.saved import is_run
from gan_lab.run.selection import examples_of, final_seeds
from gan_lab.run.trained_run import TrainedRun
from gan_lab.tracking.outputs import check_output

VALIDATION = "evaluation.validation="  # with 0, the real test pictures are used
WEIGHTS = "feature_extractor.weights="
SHOWN_BESIDE = ("floor", "standard_error", "copies")  # fields of a score shown beside its value in the table


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """The options of the command line."""

    what: Path
    dataset: str | None = None
    metrics: list[str] | None = None  # None: all that are possible
    samples: int | None = None  # None: the number in the run's config, or all pictures
    noise_seeds: int | None = None
    which: str = "newest"
    device: str = "auto"
    force: bool = False
    json: Path | None = None
    neighbours: Path | None = None
    overrides: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Measured:
    """Scores with what is printed about them, and the evaluator that has seen the samples."""

    scores: Scores
    evaluator: Evaluator
    about: str


def evaluate(options: EvaluateOptions) -> None:
    """Measure, print, and write the requested files. Raises ValueError before anything is written."""
    measured = measure(options)
    show(measured.scores, measured.evaluator.notes, measured.about, wide_terminal())
    if options.json is not None:
        content = {"what": str(options.what), "metrics": measured.scores}
        write_atomically(options.json, json.dumps(content, indent=1, default=str) + "\n")
    if options.neighbours is not None and measured.evaluator.seen is not None:
        save_image(suspects(measured.evaluator.seen), options.neighbours)


def measure(options: EvaluateOptions, trained: TrainedRun | None = None) -> Measured:
    """Scores of a run, which may be loaded already, or of pictures. Raises ValueError where there are none."""
    _check(options)
    of_pictures = trained is None and not is_run(options.what)
    scores, evaluator, about = _of_pictures(options) if of_pictures else _of_run(options, trained)
    if failed := next((entry["why"] for entry in scores.values() if "why" in entry), None):
        raise ValueError(f"{options.what}: {failed}: it has diverged")
    if options.metrics and evaluator.absent:
        word, why = next(iter(evaluator.absent.items()))
        raise ValueError(f"{options.what}: {word} cannot be measured: {why}")
    if not scores:
        raise ValueError(f"{options.what}: nothing can be measured; {'; '.join(evaluator.notes) or 'see --metrics'}")
    if options.neighbours is not None and evaluator.seen is None:
        raise ValueError(f"--neighbours {options.neighbours}: without a feature extractor there are none")
    return Measured(scores, evaluator, about)


def _check(options: EvaluateOptions) -> None:
    for option, file in (("--json", options.json), ("--neighbours", options.neighbours)):
        check_output(option, file)
    if options.neighbours is not None and options.neighbours.suffix != ".png":
        raise ValueError(f"--neighbours {options.neighbours}: give a .png")
    for name, value in (("--samples", options.samples), ("--noise-seeds", options.noise_seeds)):
        if value is not None and value < 1:
            raise ValueError(f"{name} {value}: it must be at least 1")
    for word in options.overrides:
        if not word.startswith(("feature_extractor=", "feature_extractor.", "dataset.", VALIDATION)):
            raise ValueError(
                f"{word}: evaluate takes feature_extractor=..., feature_extractor.*, dataset.* and {VALIDATION}..."
            )
    if not options.what.exists():
        raise ValueError(f"{options.what}: there is neither a run nor a folder of pictures, nor an .npz")


# -- a run -------------------------------------------------------------------------------------------------------------


def _of_run(options: EvaluateOptions, trained: TrainedRun | None) -> tuple[Scores, Evaluator, str]:
    if options.dataset is not None:
        raise ValueError(f"--dataset {options.dataset}: {options.what} is a run and knows its data; leave it out")
    trained = trained or TrainedRun(options.what, options.device, options.which)
    _refuse_its_weights(trained, options)
    config = changed_config(trained.config, options.overrides)
    evaluation = registry.read(Evaluation, config.evaluation, "evaluation")
    evaluation = dataclasses.replace(
        evaluation,
        metrics=options.metrics if options.metrics is not None else evaluation.metrics or None,
        samples=options.samples or evaluation.samples,
        noise_seeds=options.noise_seeds or evaluation.noise_seeds,
    )
    dataset = data_set(config)
    if list(dataset.sample_shape) != list(trained.about["sample_shape"]):
        made = " x ".join(map(str, trained.about["sample_shape"]))
        raise ValueError(f"{options.what} makes samples of {made}, and these data have other ones")
    if any(column.vocabulary != described(dataset)[name].vocabulary for name, column in trained.columns.items()):
        raise ValueError(f"{options.what} was trained with another vocabulary than these data have")
    task, data = trained.task, trained.example_data(dataset)
    evaluator = build_evaluator(config, dataset, evaluation, choose_device(options.device), task, selecting=False)
    with inference(trained.nets, evaluation.batch_norm, task.warm) as nets:
        scores = _measure(
            evaluator,
            lambda num, seed: task.examples(nets, num, seed, data),
            evaluation.samples,
            final_seeds(evaluation.noise_seeds, task.deterministic),
            **(examples_of(task, data) if data is not None else {}),
            images=trained.images,
            selection=False,
            weights=trained.weights,
            batch_norm=evaluation.batch_norm,
        )
    return scores, evaluator, f"{options.what} after {trained.images:,} images, weights {trained.weights}"


def _refuse_its_weights(trained: TrainedRun, options: EvaluateOptions) -> None:
    """Raise ValueError where the run, which may be a stranger's, names a file of weights to load."""
    weights = OmegaConf.select(trained.config, "feature_extractor.weights")
    if weights is not None and not any(word.startswith(("feature_extractor=", WEIGHTS)) for word in options.overrides):
        raise ValueError(
            f"{options.what} was scored with weights from {weights}; say that you trust this file: {WEIGHTS}{weights}"
        )


def changed_config(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """A run's config with another feature extractor, or with its data in another folder."""
    config = DictConfig(OmegaConf.merge({"feature_extractor": {"name": "auto"}}, config))
    OmegaConf.set_struct(config, False)
    for_extractor = [word for word in overrides if word.startswith("feature_extractor")]
    if for_extractor:
        if any(word.startswith("feature_extractor=") for word in for_extractor):
            config.feature_extractor = _composed(for_extractor).feature_extractor
        else:  # the run's own extractor, with other settings
            changed = _composed([f"feature_extractor={config.feature_extractor.name}", *for_extractor])
            for word in for_extractor:
                key = word.partition("=")[0].removeprefix("feature_extractor.")
                config.feature_extractor[key] = changed.feature_extractor[key]
    try:
        changes = OmegaConf.from_dotlist([word for word in overrides if word.startswith(("dataset.", VALIDATION))])
        return DictConfig(OmegaConf.merge(config, changes))
    except OmegaConfBaseException as error:
        raise ValueError(f"{' '.join(overrides)}: {' '.join(str(error).split())}") from error


def _composed(words: Sequence[str]) -> DictConfig:
    publish()
    return without_hydra(compose(parse(["experiment=none", *words]).overrides))


# -- pictures of another generator -------------------------------------------------------------------------------------


def _of_pictures(options: EvaluateOptions) -> tuple[Scores, Evaluator, str]:
    if options.dataset is None:
        hint = " (a run has a config.yaml)" if options.what.is_dir() else ""
        raise ValueError(f"{options.what} is no run{hint}; for pictures say what to compare with: --dataset NAME")
    if options.which != "newest" or options.noise_seeds is not None:
        raise ValueError("--checkpoint and --noise-seeds are for runs; these are pictures")
    images = read_exactly(options.what, force=options.force)
    config = _for_pictures(options, images)
    dataset = data_set(config)
    if len(dataset.sample_shape) != 3:
        raise ValueError(f"--dataset {options.dataset} has points; {options.what} holds pictures")
    images = _with_channels(images, dataset.sample_shape[0], options)
    if tuple(images.shape[1:3]) != tuple(dataset.sample_shape[1:]):
        size, wanted = " x ".join(map(str, images.shape[1:3])), " x ".join(map(str, dataset.sample_shape[1:]))
        raise ValueError(f"{options.what} holds pictures of {size} pixels, dataset={options.dataset} those of {wanted}")
    if (options.samples or 0) > len(images):
        raise ValueError(f"--samples {options.samples}: {options.what} holds {len(images):,} pictures")
    num = options.samples or len(images)
    evaluation = Evaluation(every=0, samples=num, metrics=options.metrics)
    evaluator = build_evaluator(config, dataset, evaluation, choose_device(options.device), selecting=False)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:num]

    def draw(num: int, seed: int) -> Iterator[Example]:
        for rows in order.split(BATCH):
            yield {"sample": scale(images[rows])}

    lossy = options.force and bool(files_of(options.what, LOSSY))
    scores = _measure(evaluator, draw, num, [0], selection=False, source=str(options.what))
    for entry in scores.values():
        entry["noise_seeds"] = None
        entry |= {"quantization": "uint8, lossy files"} if lossy else {}
    return scores, evaluator, str(options.what)


def _for_pictures(options: EvaluateOptions, images: Tensor) -> DictConfig:
    """The config of the data set, with the pictures' size and channels unless the command line gives others."""
    registry.load()
    if options.dataset not in registry.datasets.classes:
        raise registry.unknown("--dataset", options.dataset, registry.datasets.classes)
    takes = {name for name, *_ in registry.parameters(registry.datasets.classes[options.dataset])}
    _, height, width, channels = images.shape
    words = [f"dataset={options.dataset}"]
    given = {word.partition("=")[0] for word in options.overrides}
    if "image_size" in takes and "dataset.image_size" not in given:
        words.append(f"dataset.image_size={height if height == width else [height, width]}".replace(" ", ""))
    if "image_channels" in takes and "dataset.image_channels" not in given:
        words.append(f"dataset.image_channels={channels}")
    return _composed([*words, *options.overrides])


def _with_channels(images: Tensor, channels: int, options: EvaluateOptions) -> Tensor:
    """The pictures with `channels` channels: grey repeated as colour, or colour as grey where all its pixels are grey.

    Raises ValueError for colour pictures where the data set is grey.
    """
    if images.shape[3] == channels:
        return images
    if images.shape[3] == 1 and channels == 3:
        return images.expand(-1, -1, -1, 3)
    if images.shape[3] == 3 and channels == 1 and bool((images == images[..., :1]).all()):
        return images[..., :1].contiguous()
    raise ValueError(f"{options.what} holds colour pictures; dataset={options.dataset} is grey")


# -- measuring and printing --------------------------------------------------------------------------------------------


def _measure(evaluator: Evaluator, draw: Draw, num: int, seeds: Sequence[int], **provenance: Any) -> Scores:
    """The scores of `evaluator`, with a progress bar of the samples in a terminal."""
    output = terminal()
    columns = (TextColumn("{task.completed:,} of {task.total:,} samples"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=output, transient=True, disable=not output.is_terminal) as progress:
        evaluator.tell = lambda line: output.print(line, markup=False)
        bar = progress.add_task("", total=num * len(seeds))

        def watched(num: int, seed: int) -> Iterator[Example]:
            for example in draw(num, seed):
                progress.advance(bar, len(example["sample"]))
                yield example

        return evaluator(watched, num, seeds, **provenance)


def show(scores: Scores, notes: Sequence[str], about: str, output: Console) -> None:
    """Print a table of scores, and below it of how many samples they are, and of what."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for head in ("score", "value", "beside it"):
        table.add_column(head, justify="right" if head == "value" else "left", no_wrap=head != "beside it")
    for name, entry in scores.items():
        table.add_row(name, f"{entry['value']:.4g}", _beside(entry))
    output.print(table)
    some = next(iter(scores.values()))
    seeds = "" if not some["noise_seeds"] else f" of noise seeds {', '.join(map(str, _seeds(scores)))}"
    output.print(f"{some['samples']:,} samples{seeds}: {about}", markup=False)
    for line in notes:
        output.print(line, markup=False)


def _seeds(scores: Scores) -> list[int]:
    return max((entry["noise_seeds"] for entry in scores.values()), key=len)


def _beside(entry: Mapping[str, Any]) -> str:
    words = []
    if "deviation_over_noise" in entry:
        words.append(f"± {entry['deviation_over_noise']:.2g} over {len(entry['values'])} noise seeds")
    return "  ".join(
        [*words, *(f"{name.replace('_', ' ')} {entry[name]:.2g}" for name in SHOWN_BESIDE if name in entry)]
    )
