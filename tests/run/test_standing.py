"""Standing statistics of batch norm: of many samples of the weights that make them, and gone afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gan_lab.core.loop import train
from gan_lab.core.runtime import inference
from gan_lab.run.assembly import Assembly, assemble
from tests.core.toys import equal
from tests.helpers import compose

WORDS = [
    "dataset=toy_pictures", "dataset.image_size=28", "generator=dcgan", "generator.width=4", "discriminator=dcgan",
    "discriminator.width=4", "trainer.batch_size=8", "trainer.images=16", "trainer.device=cpu", "trainer.ema=0.9",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> Assembly:
    assembly = assemble(compose(*WORDS, "evaluation.batch_norm=standing"))
    train(assembly.game, 16)
    return assembly


def norms_of(nets: nn.ModuleDict) -> list[nn.BatchNorm2d]:
    return [module for module in nets["generator"].modules() if isinstance(module, nn.BatchNorm2d)]


def test_they_are_the_mean_of_all_batches_statistics_in_batch_mode(trained: Assembly) -> None:
    nets, task = trained.sampled_nets, trained.game.task
    inputs: list[list[Tensor]] = [[] for _ in norms_of(nets)]
    with inference(nets, "batch"):
        hooks = [
            norm.register_forward_hook(lambda norm, x, y, seen=seen: seen.append(x[0].detach()))
            for norm, seen in zip(norms_of(nets), inputs, strict=True)
        ]
        task.warm(nets)
        for hook in hooks:
            hook.remove()
    with inference(nets, "standing", task.warm):
        for norm, seen in zip(norms_of(nets), inputs, strict=True):
            assert len(seen) == 2048 // 64
            mean = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
            variance = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in seen]).mean(0)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(norm.running_var, variance, rtol=1e-4, atol=1e-5)
            assert not norm.training


def test_they_change_samples_and_leave_no_trace(trained: Assembly) -> None:
    nets, task = trained.sampled_nets, trained.game.task
    before = {name: value.clone() for name, value in nets.state_dict().items()}
    momenta = [norm.momentum for norm in norms_of(nets)]
    made = {}
    for kind in ("running", "standing", "batch", "standing"):
        with inference(nets, kind, task.warm):
            sample = task.sample(nets, 5, seed=3)
        assert not torch.equal(sample, made.get("running", sample + 1))
        assert torch.equal(made.setdefault(kind, sample), sample)
    assert equal(dict(nets.state_dict()), before)
    assert [norm.momentum for norm in norms_of(nets)] == momenta
    assert not torch.equal(made["standing"], made["batch"])


def test_norms_that_make_no_samples_keep_theirs(trained: Assembly) -> None:
    judge = trained.sampled_nets["discriminator"]
    before = [buffer.clone() for buffer in judge.buffers()]
    assert before
    with inference(trained.sampled_nets, "standing", trained.game.task.warm):
        assert all(torch.equal(a, b) for a, b in zip(before, judge.buffers(), strict=True))


def test_a_task_that_makes_nothing_from_noise_is_refused() -> None:
    words = ["experiment=none", "task=autoencoding", "dataset=toy_pictures", "encoder=vqvae", "bottleneck=vq"]
    words += ["generator=vqvae", "evaluation.batch_norm=standing", "trainer.device=cpu"]
    with pytest.raises(ValueError, match=r"batch_norm=standing is of samples from noise, .* choose running or batch"):
        assemble(compose(*words))
