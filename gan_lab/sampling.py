"""Samples of a trained run, from its directory alone: neither data nor optimizer is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from gan_lab import registry
from gan_lab.core import checkpoint
from gan_lab.core.runtime import choose_device
from gan_lab.datasets.store import unscale
from gan_lab.metrics.scores import inference
from gan_lab.tracking import pictures


class TrainedRun:
    """The newest valid checkpoint of a run directory, ready to sample: averaged weights where the run kept them.

    Raises ValueError where there is no run, no checkpoint yet, or a plug-in of the run is missing.
    """

    def __init__(self, path: Path, device: str = "auto") -> None:
        from gan_lab.train import build_task

        if not (path / "config.yaml").is_file():
            inside = sorted(file.parent.name for file in path.glob("*/config.yaml")) if path.is_dir() else []
            hint = f"; it holds runs: {', '.join(inside[:4])}{', ...' if len(inside) > 4 else ''}" if inside else ""
            raise ValueError(f"{path} is no run directory{hint or ' (there is no config.yaml)'}")
        state = checkpoint.load_newest(path / "checkpoints")
        if state is None:
            raise ValueError(f"{path} has no checkpoint yet; train it further: gan-lab train ... run_dir={path}")
        self.config = DictConfig(OmegaConf.load(path / "config.yaml"))
        self.about: dict[str, Any] = state["about"]
        self.images: int = state["game"]["images"]
        if missing := [name for name in self.about["plugins"] if name not in registry.plugins()]:
            raise ValueError(
                f"{path} was trained with plug-ins; set GAN_LAB_PLUGINS='{' '.join(self.about['plugins'])}' "
                f"(missing: {', '.join(missing)})"
            )
        self.task = build_task(self.config, tuple(self.about["sample_shape"]), self.about["num_classes"], seed=0)
        parts = state["game"]["parts"]
        self.nets: nn.ModuleDict = self.task.nets
        self.nets.load_state_dict(parts["task/nets"])
        if "hook/EMA" in parts:
            self.nets = nn.ModuleDict({name: self.task.nets[name] for name in self.task.averaged})
            self.nets.load_state_dict(parts["hook/EMA"])
        self.nets.to(choose_device(device))

    def sample(self, num: int, seed: int) -> Tensor:
        """Samples [num, ...]; a seed gives the same ones on every device, up to rounding."""
        with inference(self.nets, self.config.evaluation.batch_norm) as nets:
            samples: Tensor = self.task.sample(nets, num, seed)
        return samples


def write_samples(run: Path, out: Path, num: int, seed: int, device: str = "auto") -> None:
    """Sample a run into a .png grid, an .npz (`images`, uint8 NHWC; `points` for points) or a folder of PNGs.

    Raises ValueError for a bad number, a folder that is not empty, or points in a folder of pictures.
    """
    if num < 1:
        raise ValueError(f"--num {num}: it must be at least 1")
    if out.suffix not in (".png", ".npz", ""):
        raise ValueError(f"--out {out}: give a .png, an .npz, or a folder")
    if out.suffix == "" and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out}: it exists and is not an empty folder; nothing is overwritten")
    if out.suffix and not out.parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.parent}")
    trained = TrainedRun(run, device)
    if out.suffix == "" and len(trained.about["sample_shape"]) != 3:
        raise ValueError(f"--out {out}: {run} makes points, not pictures; give a .png or an .npz")
    samples = trained.sample(num, seed)
    if not torch.isfinite(samples).all():
        raise ValueError(f"{run} makes samples that are not finite: it has diverged")
    if out.suffix == ".png":
        pictures.save(samples, out)
    elif out.suffix == ".npz":
        name, values = ("images", unscale(samples)) if samples.dim() == 4 else ("points", samples)
        np.savez_compressed(out, **{name: values.numpy()})  # type: ignore[arg-type]
    else:
        out.mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(unscale(samples).numpy()):
            pictures.save_image(image, out / f"{i:06d}.png")
