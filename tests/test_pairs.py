"""Every generator with every discriminator under every loss, on points and pictures."""

from __future__ import annotations

import pytest

from tests.pairs import DATA, LOSSES, PAIRS, build, chosen, possible, samples_of, train_watched


@pytest.mark.parametrize("data", ["points", "colour 32"])
@pytest.mark.parametrize(("generator", "discriminator"), PAIRS)
def test_every_pair_trains_under_every_loss(generator: str, discriminator: str, data: str) -> None:
    overrides = [*chosen(generator, discriminator), *DATA[data]]
    if not possible(generator, discriminator, data):
        with pytest.raises(ValueError, match=r"samples of shape \(2,\) do not have"):
            build(*overrides)
        return
    still = []
    for loss in LOSSES:
        assembly = build(*overrides, loss=loss)
        still.append(train_watched(assembly))
        samples = samples_of(assembly, 5)
        assert samples.shape == (5, *assembly.dataset.sample_shape), loss
        assert samples.isfinite().all(), loss
        assert samples.flatten(1).std(0).max() > 0, f"{loss}: the same sample for every z"
    assert not set.intersection(*still), "no loss moves it"
