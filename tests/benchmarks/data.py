"""The data path: its share of a default step, and its rate against a DataLoader with the usual transforms."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gan_lab.core.loop import Order, step, train
from gan_lab.datasets.store import Store
from tests.benchmarks.measure import Goal, Result, build, seconds

BATCH = 64
STEPS, FETCHES = 25, 100  # in a round


def share(rounds: int) -> Result:
    """How much of a step is spent on getting its batch."""
    game = build("experiment=dcgan_mnist5k", log_every=640).game
    size = game.batch_size
    result = Result("data_share", "s/step", "fetching / whole step", Goal("at most", 0.01))
    step(game)

    def fetch() -> None:
        for i in range(FETCHES):
            game.data.fetch("sample", game.orders[""].rows(game.images + i * size, size), game.runtime.device)

    def play() -> None:
        train(game, game.images + STEPS * size)

    for _ in range(rounds):
        whole = seconds(play) / STEPS
        fetching = seconds(fetch) / FETCHES
        result.add(fetching, whole, fetching / whole)
    result.notes.append("here the baseline is our own whole step")
    return result


class Pictures(torch.utils.data.Dataset[Tensor]):
    """uint8 [N, H, W], turned into a PIL image and transformed one by one, as torchvision's own data sets do."""

    def __init__(self, pixels: np.ndarray) -> None:
        from torchvision import transforms

        self.pixels = pixels
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        from PIL import Image

        image: Tensor = self.transform(Image.fromarray(self.pixels[index]))
        return image


def rate(rounds: int) -> Result:
    """Images a second, in batches, as float in [-1, 1], shuffled."""
    store: Store = build("experiment=dcgan_mnist5k", log_every=0).data
    order = Order(len(store), seed=0)
    images = len(store) // BATCH * BATCH
    loader = torch.utils.data.DataLoader(
        Pictures(store.columns["sample"][..., 0].numpy()), BATCH, shuffle=True, num_workers=0, drop_last=True
    )
    epochs = iter(range(1_000_000))

    def batches() -> Iterator[Tensor]:
        """An epoch, with its new permutation."""
        start = next(epochs) * len(store)
        for position in range(start, start + images, BATCH):
            yield store.fetch("sample", order.rows(position, BATCH))

    first, theirs = next(batches()), next(iter(loader))
    assert first.shape == theirs.shape
    assert first.dtype == theirs.dtype
    result = Result("data_rate", "images/s", "ours / baseline", Goal("at least", 20))
    for _ in range(rounds):
        ours = images / seconds(lambda: [None for _ in batches()])
        baseline = images / seconds(lambda: [None for _ in loader])
        result.add(ours, baseline, ours / baseline)
    return result
