"""`gan-lab evaluate`: scores of a trained run, or of pictures that somebody else's generator made."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor

from gan_lab import registry
from gan_lab.config import Evaluation
from gan_lab.core.runtime import choose_device, inference
from gan_lab.datasets.decoding import LOSSY, files_of, read_exactly
from gan_lab.datasets.store import scale
from gan_lab.grids import suspects
from gan_lab.metrics.evaluator import Draw, Evaluator, Samples, Scores
from gan_lab.metrics.reference import BATCH
from gan_lab.sampling import TrainedRun
from gan_lab.scoring import final_seeds
from gan_lab.tracking import pictures
from gan_lab.tracking.console import terminal, wide_terminal
from gan_lab.tracking.run_directory import write_atomically

VALIDATION = "evaluation.validation="  # 0 looks at the real test pictures
SAID = ("floor", "standard_error", "copies")  # what stands beside a value in the table


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What the command line says."""

    what: Path
    dataset: str | None = None
    metrics: list[str] | None = None  # None: all that can be had
    samples: int | None = None  # None: as many as the run's config says, or all pictures
    noise_seeds: int | None = None
    which: str = "newest"
    device: str = "auto"
    force: bool = False
    json: Path | None = None
    neighbours: Path | None = None
    overrides: tuple[str, ...] = ()


def evaluate(wishes: Wishes) -> Scores:
    """Measure and print; write the files that are asked for. Raises ValueError, and then has written nothing."""
    _check(wishes)
    is_run = (wishes.what / "config.yaml").is_file()
    scores, evaluator, about = _of_run(wishes) if is_run else _of_pictures(wishes)
    if failed := next((entry["why"] for entry in scores.values() if "why" in entry), None):
        raise ValueError(f"{wishes.what}: {failed}: it has diverged")
    if wishes.metrics and evaluator.absent:
        word, why = next(iter(evaluator.absent.items()))
        raise ValueError(f"{wishes.what}: {word} cannot be measured: {why}")
    if not scores:
        raise ValueError(f"{wishes.what}: nothing can be measured; {'; '.join(evaluator.notes) or 'see --metrics'}")
    if wishes.neighbours is not None and evaluator.seen is None:
        raise ValueError(f"--neighbours {wishes.neighbours}: without a feature extractor there are none")
    _show(scores, evaluator.notes, about)
    if wishes.json is not None:
        content = {"what": str(wishes.what), "metrics": scores}
        write_atomically(wishes.json, json.dumps(content, indent=1, default=str) + "\n")
    if wishes.neighbours is not None and evaluator.seen is not None:
        pictures.save_image(suspects(evaluator.seen), wishes.neighbours)
    return scores


def _check(wishes: Wishes) -> None:
    for option, file in (("--json", wishes.json), ("--neighbours", wishes.neighbours)):
        if file is not None and not file.parent.is_dir():
            raise ValueError(f"{option} {file}: there is no folder {file.parent}")
        if file is not None and (file.parent / "config.yaml").is_file():
            raise ValueError(f"{option} {file}: {file.parent} is a run, and stays as it is; write elsewhere")
    if wishes.neighbours is not None and wishes.neighbours.suffix != ".png":
        raise ValueError(f"--neighbours {wishes.neighbours}: give a .png")
    for name, value in (("--samples", wishes.samples), ("--noise-seeds", wishes.noise_seeds)):
        if value is not None and value < 1:
            raise ValueError(f"{name} {value}: it must be at least 1")
    for word in wishes.overrides:
        if not word.startswith(("feature_extractor=", "feature_extractor.", "dataset.", VALIDATION)):
            raise ValueError(
                f"{word}: evaluate takes feature_extractor=..., feature_extractor.*, dataset.* and {VALIDATION}..."
            )
    if not wishes.what.exists():
        raise ValueError(f"{wishes.what}: there is neither a run nor a folder of pictures, nor an .npz")


# -- a run -------------------------------------------------------------------------------------------------------------


def _of_run(wishes: Wishes) -> tuple[Scores, Evaluator, str]:
    from gan_lab.train import build_evaluator, data_set

    if wishes.dataset is not None:
        raise ValueError(f"--dataset {wishes.dataset}: {wishes.what} is a run and knows its data; leave it out")
    trained = TrainedRun(wishes.what, wishes.device, wishes.which)
    config = _changed(trained.config, wishes.overrides)
    evaluation = registry.read(Evaluation, config.evaluation, "evaluation")
    evaluation = dataclasses.replace(
        evaluation,
        metrics=wishes.metrics if wishes.metrics is not None else evaluation.metrics or None,
        samples=wishes.samples or evaluation.samples,
        noise_seeds=wishes.noise_seeds or evaluation.noise_seeds,
    )
    dataset = data_set(config)
    if list(dataset.sample_shape) != list(trained.about["sample_shape"]):
        made = " x ".join(map(str, trained.about["sample_shape"]))
        raise ValueError(f"{wishes.what} makes samples of {made}, and these data have other ones")
    evaluator = build_evaluator(config, dataset, evaluation, choose_device(wishes.device), selecting=False)
    with inference(trained.nets, evaluation.batch_norm) as nets:
        scores = _measure(
            evaluator,
            lambda num, seed: trained.task.stream(nets, num, seed),
            evaluation.samples,
            final_seeds(evaluation.noise_seeds),
            images=trained.images,
            selection=False,
            weights=trained.weights,
            batch_norm=evaluation.batch_norm,
        )
    return scores, evaluator, f"{wishes.what} after {trained.images:,} images, weights {trained.weights}"


def _changed(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """A run's config with another feature extractor, or with its data in another place."""
    config = DictConfig(OmegaConf.merge({"feature_extractor": {"name": "auto"}}, config))
    OmegaConf.set_struct(config, False)
    for_extractor = [word for word in overrides if word.startswith("feature_extractor")]
    if for_extractor:
        if any(word.startswith("feature_extractor=") for word in for_extractor):
            config.feature_extractor = _composed(for_extractor).feature_extractor
        else:  # the run's own, changed
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
    from gan_lab import config, launch
    from gan_lab.overrides import parse

    config.publish()
    return config.without_hydra(launch._compose(parse(["experiment=none", *words]).overrides))


# -- pictures of another generator -------------------------------------------------------------------------------------


def _of_pictures(wishes: Wishes) -> tuple[Scores, Evaluator, str]:
    from gan_lab.train import build_evaluator, data_set

    if wishes.dataset is None:
        hint = " (a run has a config.yaml)" if wishes.what.is_dir() else ""
        raise ValueError(f"{wishes.what} is no run{hint}; for pictures say what to compare with: --dataset NAME")
    if wishes.which != "newest" or wishes.noise_seeds is not None:
        raise ValueError("--checkpoint and --noise-seeds are for runs; these are pictures")
    images = read_exactly(wishes.what, force=wishes.force)
    config = _for_pictures(wishes, images)
    dataset = data_set(config)
    if len(dataset.sample_shape) != 3:
        raise ValueError(f"--dataset {wishes.dataset} has points; {wishes.what} holds pictures")
    images = _with_channels(images, dataset.sample_shape[0], wishes)
    if tuple(images.shape[1:3]) != tuple(dataset.sample_shape[1:]):
        size, wanted = " x ".join(map(str, images.shape[1:3])), " x ".join(map(str, dataset.sample_shape[1:]))
        raise ValueError(f"{wishes.what} holds pictures of {size} pixels, dataset={wishes.dataset} those of {wanted}")
    if (wishes.samples or 0) > len(images):
        raise ValueError(f"--samples {wishes.samples}: {wishes.what} holds {len(images):,} pictures")
    num = wishes.samples or len(images)
    evaluation = Evaluation(every=0, samples=num, metrics=wishes.metrics)
    evaluator = build_evaluator(config, dataset, evaluation, choose_device(wishes.device), selecting=False)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:num]

    def draw(num: int, seed: int) -> Samples:
        for rows in order.split(BATCH):
            yield scale(images[rows]), None

    lossy = wishes.force and bool(files_of(wishes.what, LOSSY))
    scores = _measure(evaluator, draw, num, [0], selection=False, source=str(wishes.what))
    for entry in scores.values():
        entry["noise_seeds"] = None
        if lossy:
            entry["quantization"] = "uint8, lossy files"
    return scores, evaluator, str(wishes.what)


def _for_pictures(wishes: Wishes, images: Tensor) -> DictConfig:
    """The config of a data set of the pictures' size, unless the command line says another one."""
    registry.load()
    if wishes.dataset not in registry.datasets.classes:
        raise registry.unknown("--dataset", wishes.dataset, registry.datasets.classes)
    takes = {name for name, *_ in registry.parameters(registry.datasets.classes[wishes.dataset])}
    _, height, width, channels = images.shape
    words = [f"dataset={wishes.dataset}"]
    said = {word.partition("=")[0] for word in wishes.overrides}
    if "image_size" in takes and "dataset.image_size" not in said:
        words.append(f"dataset.image_size={height if height == width else [height, width]}".replace(" ", ""))
    if "image_channels" in takes and "dataset.image_channels" not in said:
        words.append(f"dataset.image_channels={channels}")
    return _composed([*words, *wishes.overrides])


def _with_channels(images: Tensor, channels: int, wishes: Wishes) -> Tensor:
    """Grey pictures as colour, or colour ones that are grey throughout as grey."""
    if images.shape[3] == channels:
        return images
    if images.shape[3] == 1 and channels == 3:
        return images.expand(-1, -1, -1, 3)
    if images.shape[3] == 3 and channels == 1 and bool((images == images[..., :1]).all()):
        return images[..., :1].contiguous()
    raise ValueError(f"{wishes.what} holds colour pictures; dataset={wishes.dataset} is grey")


# -- measuring and telling ---------------------------------------------------------------------------------------------


def _measure(evaluator: Evaluator, draw: Draw, num: int, seeds: Sequence[int], **provenance: Any) -> Scores:
    """With a bar of the samples that were made, in a terminal."""
    output = terminal()
    columns = (TextColumn("{task.completed:,} of {task.total:,} samples"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=output, transient=True, disable=not output.is_terminal) as progress:
        evaluator.tell = lambda line: output.print(line, markup=False)
        bar = progress.add_task("", total=num * len(seeds))

        def watched(num: int, seed: int) -> Samples:
            for samples, label in draw(num, seed):
                progress.advance(bar, len(samples))
                yield samples, label

        return evaluator(watched, num, seeds, **provenance)


def _show(scores: Scores, notes: Sequence[str], about: str) -> None:
    output = wide_terminal()
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
    return "  ".join([*words, *(f"{name.replace('_', ' ')} {entry[name]:.2g}" for name in SAID if name in entry)])
