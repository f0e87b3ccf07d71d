"""Samples of a trained run, from its directory alone: neither data nor optimizer is needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from gan_lab import registry
from gan_lab.core import checkpoint
from gan_lab.core.runtime import choose_device, inference
from gan_lab.datasets.store import unscale
from gan_lab.grids import LAYOUTS
from gan_lab.tracking import pictures
from gan_lab.tracking.run_directory import RunDirectory


class TrainedRun:
    """A checkpoint of a run directory, ready to sample: averaged weights where the run kept them.

    `which` is newest (the newest valid one), best (by the scores seen while training) or a number of images. Raises
    ValueError where there is no run, no such checkpoint, or a plug-in of the run is missing.
    """

    def __init__(self, path: Path, device: str = "auto", which: str = "newest") -> None:
        from gan_lab.train import build_task

        if not (path / "config.yaml").is_file():
            inside = sorted(file.parent.name for file in path.glob("*/config.yaml")) if path.is_dir() else []
            hint = f"; it holds runs: {', '.join(inside[:4])}{', ...' if len(inside) > 4 else ''}" if inside else ""
            raise ValueError(f"{path} is no run directory{hint or ' (there is no config.yaml)'}")
        self.path = path
        state = _state(path, which)
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
        self.weights = "last"
        if "hook/EMA" in parts:
            self.weights = f"ema {self.config.trainer.ema}"
            self.nets = nn.ModuleDict({name: self.task.nets[name] for name in self.task.averaged})
            self.nets.load_state_dict(parts["hook/EMA"])
        self.nets.to(choose_device(device))

    def labels(self, text: str) -> Tensor:
        """Classes [n] from `3`, `3,5` or their names.

        Raises ValueError for one that there is not, and for a generator that is not told the class.
        """
        classes, names = self.about["num_classes"], self.about.get("class_names") or []
        if not classes:
            raise ValueError(f"--label {text}: {self.path} was trained on data without labels")
        chosen = []
        for word in (word.strip() for word in text.split(",")):
            known = {name.lower(): i for i, name in enumerate(names)}
            label = int(word) if word.isdecimal() else known.get(word.lower(), classes)
            if label >= classes:
                called = f" ({', '.join(names)})" if 0 < len(names) <= 20 else ""
                raise ValueError(f"--label {word}: the classes of {self.path} are 0 to {classes - 1}{called}")
            chosen.append(label)
        self.require_class()
        return torch.tensor(chosen)

    def require_class(self) -> None:
        """Raise ValueError where the generator makes the same of every class."""
        with inference(self.nets, self.config.evaluation.batch_norm) as nets:
            listens = self.task.listens(nets)
        if not listens:
            raise ValueError(
                f"the generator of {self.path} is not told the class; train with generator.conditioning=batch_norm or "
                "concat, and discriminator.conditioning=projection or auxiliary"
            )

    def generate(self, z: Tensor, label: Tensor | None) -> Tensor:
        """Samples [N, ...] for latents [N, latent_dim] and classes [N]."""
        with inference(self.nets, self.config.evaluation.batch_norm) as nets:
            samples: Tensor = self.task.generate(nets, z, label)
        return _finite(samples, self.path)

    def sample(self, num: int, seed: int, label: Tensor | None = None) -> Tensor:
        """Samples [num, ...]; a seed gives the same ones on every device, up to rounding. Given classes take turns."""
        every = None if label is None else label.repeat(-(-num // len(label)))[:num]
        with inference(self.nets, self.config.evaluation.batch_norm) as nets:
            samples: Tensor = self.task.sample(nets, num, seed, label=every)
        return _finite(samples, self.path)


def _state(path: Path, which: str) -> dict[str, Any]:
    folder = path / "checkpoints"
    if which == "newest":
        state = checkpoint.load_newest(folder)
        if state is None:
            raise ValueError(f"{path} has no checkpoint yet; train it further: gan-lab train ... run_dir={path}")
        return state
    best: Mapping[str, Any] = RunDirectory(path).summary.get("best") or {}
    images = best.get("images") if which == "best" else int(which) if which.isdecimal() else None
    kept = checkpoint.kept(folder)
    if images not in kept:
        there = ", ".join(map(str, kept)) or "none"
        also = "" if best else "; it was not scored while it trained (evaluation.every), so none is best"
        raise ValueError(f"--checkpoint {which}: {path} has newest{', best' if best else ''}, {there}{also}")
    return checkpoint.load_of(folder, images)


def _check_wishes(out: Path, num: int | None, grid: str | None) -> None:
    if num is not None and num < 1:
        raise ValueError(f"--num {num}: it must be at least 1")
    if grid is not None and grid not in LAYOUTS:
        raise registry.unknown("--grid", grid, LAYOUTS)
    if out.suffix not in ((".png",) if grid else (".png", ".npz", "")):
        raise ValueError(f"--out {out}: give a .png" + ("" if grid else ", an .npz, or a folder"))
    if out.suffix == "" and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out}: it exists and is not an empty folder; nothing is overwritten")
    if out.suffix and not out.parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.parent}")


def _finite(samples: Tensor, path: Path) -> Tensor:
    if not torch.isfinite(samples).all():
        raise ValueError(f"{path} makes samples that are not finite: it has diverged")
    return samples


def write_samples(
    run: Path,
    out: Path,
    num: int | None = None,
    seed: int = 0,
    device: str = "auto",
    *,
    label: str | None = None,
    grid: str | None = None,
    which: str = "newest",
) -> str | None:
    """Sample a run into a .png grid, an .npz (`images`, uint8 NHWC; `points` for points) or a folder of PNGs.

    `grid` names a layout of grids.py instead, which is a .png; what it has to say is returned. Raises ValueError for a
    bad number, an unknown class, a folder that is not empty, or points where there must be pictures.
    """
    _check_wishes(out, num, grid)
    trained = TrainedRun(run, device, which)
    if (grid or out.suffix == "") and len(trained.about["sample_shape"]) != 3:
        what = f"--grid {grid}" if grid else f"--out {out}"
        raise ValueError(f"{what}: {run} makes points, not pictures; give a .png or an .npz")
    labels = None if label is None else trained.labels(label)
    if grid:
        sheet, said = LAYOUTS[grid](trained, num or 8, seed, labels)
        pictures.save_image(sheet, out)
        return said
    samples = trained.sample(num or 64, seed, labels)
    if out.suffix == ".png":
        pictures.save(samples, out)
    elif out.suffix == ".npz":
        name, values = ("images", unscale(samples)) if samples.dim() == 4 else ("points", samples)
        np.savez_compressed(out, **{name: values.numpy()})  # type: ignore[arg-type]
    else:
        out.mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(unscale(samples).numpy()):
            pictures.save_image(image, out / f"{i:06d}.png")
    return None
