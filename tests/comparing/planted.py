"""Run directories with planted numbers, as a run would have written them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FD = "fd/mnist5k-03da3a14/train"
COVERAGE = "coverage/mnist5k-03da3a14/train"


def provenance(**changes: Any) -> dict[str, Any]:
    """What stands beside a score."""
    return {
        "samples": 1000, "images": 400, "selection": False, "weights": "ema 0.99", "batch_norm": "running",
        "versions": {"torch": "2.10"}, "noise_seeds": [2], "better": "lower", "extractor": "mnist5k",
        "extractor_weights": "03da3a14" * 8, "extractor_settings": {}, "layer": "features (64)", "resize": "none",
        "quantization": "uint8", "split": "train", "reference": "abcd", "reference_samples": 4000,
    } | changes  # fmt: skip


def plant(
    path: Path,
    *,
    fd: float | None = 1.0,
    seed: int = 0,
    status: str = "finished",
    error: str | None = None,
    name: str = FD,
    about: Mapping[str, Any] | None = None,
    curve: Mapping[int, float] | None = None,
    seconds: float = 10.0,
    picture: bool = False,
    health: list[dict[str, Any]] | None = None,
    **settings: Any,
) -> Path:
    """Write a run of 400 images with this score at its end and, while it trained, these scores by images."""
    path.mkdir(parents=True)
    config: dict[str, Any] = {
        "generator": {"name": "dcgan", "width": 32}, "loss": {"name": "hinge"}, "dataset": {"name": "mnist5k"},
        "regularizer": {}, "experiment": "none", "run_dir": str(path), "trainer": {"seed": seed, "images": 400},
        "evaluation": {"every": 100}, "tracking": {"log_every": 10},
    }  # fmt: skip
    for key, value in settings.items():
        part, _, field = key.partition("__")
        config[part] = {**config.get(part, {}), field or "name": value}
    (path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    about = provenance(**(about or {}))
    points = {100: 4.0, 200: 3.0, 300: 2.0, 400: fd} if curve is None else curve
    finals = {name: {"value": fd, **about}, COVERAGE: {"value": 0.5, **about, "better": "higher"}}
    summary = {
        "status": status, "error": error, "config_hash": f"{hash(path):x}", "images": 400, "step": 4,
        "seconds": seconds, "images_per_second": 40.0, "metrics": finals if status == "finished" else {},
        "selection": {name: {"value": fd, **about, "selection": True, "samples": 500}},
        "best": {"images": 400, "metric": name, "value": fd, "selection": True}, "health": health or [],
    }  # fmt: skip
    (path / "summary.json").write_text(json.dumps(summary))
    records = [
        {"images": images, "step": images // 100, "seconds": seconds * images / 400, "generator/adversarial": 0.7}
        | {f"selection/{name}": value}
        for images, value in points.items()
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if picture:
        from PIL import Image

        for images in points:
            (path / "samples").mkdir(exist_ok=True)
            Image.new("L", (64, 64), images % 256).save(path / "samples" / f"{images}.png")
    return path


def sweep(folder: Path, scores: Mapping[str, list[float]], **more: Any) -> Path:
    """A run for each loss and score, with seeds 0, 1, ..."""
    for loss, values in scores.items():
        for seed, value in enumerate(values):
            plant(folder / f"{loss}-{seed}", fd=value, seed=seed, loss=loss, **more)
    return folder
