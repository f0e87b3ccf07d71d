"""The stable sections of the config: trainer, evaluation and tracking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from gan_lab import registry
from gan_lab.registry import Bounds, NonNegative, Positive, Share

# What is allocated or started before anything can go wrong has an upper bound.
Batch = Annotated[int, Bounds(1, 1_000_000)]
Samples = Annotated[int, Bounds(1, 10_000_000)]
Threads = Annotated[int, Bounds(1, 1_024)]
Processes = Annotated[int, Bounds(1, 256)]  # of one machine


@dataclass(frozen=True)
class Trainer:
    """Duration, batch, device and speed. Durations and intervals are in images; an interval of 0 means never."""

    images: Positive = 100_000  # real images shown to D's main phase
    batch_size: Batch = 64  # global
    micro_batches: Positive = 1  # number of parts in which a batch is computed, to save memory
    seed: NonNegative = 0  # initialization, data order and all noise
    device: str = "auto"  # auto takes cuda, then mps, then cpu
    precision: Literal["fp32", "bf16", "auto"] = "fp32"  # auto: bf16 where the device has units for it
    channels_last: bool = True  # memory format of images and convolutions
    compile: bool = False  # torch.compile; phases with gradient penalties stay eager
    compile_mode: Literal["default", "max-autotune-no-cudagraphs"] = "default"  # how much torch.compile optimizes
    threads: Threads | None = None  # of the CPU; null: the machine's cores. Tiny networks are fastest with 1
    processes: Processes = 1  # that share each batch, each with its card, or its share of the cores
    batch_norm: Literal["synchronized", "rank"] = "synchronized"  # of several processes: of all rows, or of its own
    timeout: Annotated[float, Bounds(1, 86_400)] = 300.0  # seconds for which one process may keep the others waiting
    deterministic: bool = False  # deterministic algorithms: on CUDA, resuming is bit for bit only with it
    ema: Share = 0.0  # decay per step of the average used for samples and scores; 0 is none
    reuse_fakes: bool = False  # G's step trains on the fakes that D's step saw: faster, another algorithm
    lazy_correction: bool = False  # slower Adam for lazy regularizers' extra steps (Karras et al. 2020, appendix B)
    checkpoint_every: NonNegative = 20_000
    keep_checkpoints: Positive = 2
    profile: bool = False  # print where the time of steps 11 to 30 went, phase by phase
    rollbacks: NonNegative = 2  # how often a run without finite gradients goes back, with half the learning rates


@dataclass(frozen=True)
class Evaluation:
    """Scores of samples: while training, to select a checkpoint, and at the end, with fresh noise."""

    every: NonNegative = 16_000  # images between two scores for selection; the best checkpoint is kept
    selection_samples: Samples = 5_000
    samples: Samples = 10_000  # at the end
    noise_seeds: Annotated[int, Bounds(1, 1_000)] = 3  # at the end, distances are the mean over this many seeds
    metrics: list[str] | None = None  # null: all that the data and the feature extractor allow
    select_by: str | None = None  # the metric that selects the best checkpoint; null: the first
    # Batch norm's statistics for samples and scores: those of training, each batch's own, or of 2,048 samples
    batch_norm: Literal["running", "batch", "standing"] = "running"
    validation: NonNegative = 0  # training pictures used in place of the test split, to choose recipes and settings


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases. auto is online with a key and a reachable server, else offline."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "gan_lab"
    entity: str | None = None
    group: str | None = None  # null: the sweep, or the experiment
    tags: tuple[str, ...] = ()
    checkpoints: bool = False  # upload each as a model artifact, with the aliases latest and best


@dataclass(frozen=True)
class Tracking:
    """Logs, samples and health checks during training, with intervals in images."""

    log_every: Positive = 2_000
    samples_every: NonNegative = 10_000
    samples: Annotated[int, Bounds(1, 10_000)] = 64  # pictures in a grid
    health: bool = True  # warn of collapse, an overpowering or overfitting D, odd gradients, at each log point
    wandb: Wandb = Wandb()


SECTIONS: dict[str, type] = {"trainer": Trainer, "evaluation": Evaluation, "tracking": Tracking}
SCHEMAS = {name: registry.schema(section, f"section__{section.__name__}") for name, section in SECTIONS.items()}


def sections(config: Any) -> tuple[Trainer, Evaluation, Tracking]:
    """The stable sections, checked. Raises ValueError with the range or the choices of a value that is not allowed."""
    trainer = registry.read(Trainer, config.trainer, "trainer")
    evaluation = registry.read(Evaluation, config.evaluation, "evaluation")
    tracking = registry.read(Tracking, config.tracking, "tracking")
    if trainer.ema == 1:
        raise ValueError("trainer.ema=1.0: an average that never moves; use a decay below 1, such as 0.999")
    return trainer, evaluation, tracking
