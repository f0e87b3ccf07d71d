"""Trains the shipped classifiers: `python -m gan_lab.feature_extractors.training [FOLDER]`.

Weights trained on another machine differ in the last digits, and so does every distance: a new file is another
extractor, with another hash in the name of every number. So this writes to a folder and does not replace the shipped
files.
"""

from __future__ import annotations

import hashlib
import math
import sys
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional

from gan_lab import registry
from gan_lab.feature_extractors.small import SIDE, SmallClassifier

BATCH, RATE, WEIGHT_DECAY, SMOOTHING = 128, 4e-3, 0.05, 0.05
RECIPES = {  # epochs, and ranges of augmentation: shift in pixels, rotation in degrees, scale
    "mnist5k": {"epochs": 60, "shift": 2.0, "rotation": 12.0, "scale": 0.12},
    "fashion_mnist": {"epochs": 12, "shift": 2.0, "rotation": 0.0, "scale": 0.05},
}
GATES = {"mnist5k": 0.97, "fashion_mnist": 0.90}  # test accuracies below which a file is refused


def pictures(name: str, split: str) -> tuple[Tensor, Tensor]:
    """Pictures, float [N, 1, 28, 28] in [0, 1], and classes [N]."""
    dataset = registry.datasets.build(OmegaConf.create({"name": name, "image_size": SIDE}))
    columns = dataset.load(split).columns
    return columns["sample"].permute(0, 3, 1, 2).float() / 255, columns["label"]


def changed(batch: Tensor, shift: float, rotation: float, scale: float, random: torch.Generator) -> Tensor:
    """Each picture [B, 1, H, H] shifted, rotated and scaled by its own random amount; black outside."""

    def uniform(most: float) -> Tensor:
        return (torch.rand(len(batch), generator=random) * 2 - 1) * most

    angle, zoom = uniform(math.radians(rotation)), 1 + uniform(scale)
    theta = torch.stack(
        [
            torch.stack([angle.cos() * zoom, -angle.sin() * zoom, uniform(2 * shift / SIDE)], dim=1),
            torch.stack([angle.sin() * zoom, angle.cos() * zoom, uniform(2 * shift / SIDE)], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(theta, list(batch.shape), align_corners=False)
    return functional.grid_sample(batch, grid, align_corners=False)


def train(name: str, seed: int = 0) -> tuple[SmallClassifier, float]:
    """A classifier trained on the training split, and its accuracy on the test split."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    recipe = dict(RECIPES[name])
    epochs = int(recipe.pop("epochs"))
    data, labels = pictures(name, "train")
    net = SmallClassifier()
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=WEIGHT_DECAY)
    steps = len(data) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * steps)
    for _ in range(epochs):
        order = torch.randperm(len(data), generator=random)
        for rows in order[: steps * BATCH].split(BATCH):
            logits = net(changed(data[rows], **recipe, random=random)).class_logits
            loss = functional.cross_entropy(logits, labels[rows], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    standardize(net, data)
    test, classes = pictures(name, "test")
    with torch.no_grad():
        predicted = torch.cat([net(part).class_logits.argmax(1) for part in test.split(1000)])
    return net, (predicted == classes).double().mean().item()


@torch.no_grad()
def standardize(net: SmallClassifier, data: Tensor) -> None:
    """Set the last normalization's statistics to those of the unchanged training pictures."""
    net.eval()
    last = net.body[-1]
    assert isinstance(last, torch.nn.BatchNorm1d)
    assert last.running_mean is not None
    assert last.running_var is not None
    raw = torch.cat([net.body[:-1](part) for part in data.split(1000)]).double()
    last.running_mean.copy_(raw.mean(0))
    last.running_var.copy_(raw.var(0))


def main(folder: Path) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for name, recipe in RECIPES.items():
        net, accuracy = train(name)
        print(f"{name}: test accuracy {accuracy:.4f}, {recipe}")
        if accuracy < GATES[name]:
            raise SystemExit(f"{name}: below {GATES[name]}")
        file = folder / f"{name}.safetensors"
        about = {
            "data": name,
            "test_accuracy": f"{accuracy:.4f}",
            "recipe": f"{recipe}, AdamW {RATE} in one cycle, weight decay {WEIGHT_DECAY}, batch {BATCH}, "
            f"label smoothing {SMOOTHING}, seed 0",
            "torch": torch.__version__,
        }
        save_file(net.state_dict(), file, metadata=about)
        print(f"  {file} {file.stat().st_size:,} bytes, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    registry.load()
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "extractors"))
