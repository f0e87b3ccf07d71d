"""Tasks with parts that are not theirs: exit code 2, one line that helps, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from gan_lab.cli import main
from tests.tasks.labelled import ADAPTATION, ATTACK
from tests.tasks.toys import AUTOENCODER, PATCHES, QUICK, TRANSLATION, UNET, UNPAIRED

PLAIN = [*QUICK, "dataset=toy_deep", "run_dir=run"]
PAIRED = [*QUICK, "dataset=toy_deep", "dataset.factor=2", "task=translation", *UNET, *PATCHES, "run_dir=run"]
BARE = [*QUICK, "task=translation", "degradation=super_resolution", "dataset=toy_deep", "run_dir=run"]
MADE = [*QUICK, *TRANSLATION, "run_dir=run"]


def without(group: str) -> list[str]:
    """An autoencoder's words, less those of a group."""
    return [word for word in CODED if not word.startswith(group)]


BOTH = [*QUICK, *UNPAIRED, "run_dir=run"]
CODED = [*QUICK, *AUTOENCODER, "dataset=toy_deep", "run_dir=run"]
ADAPTED = [*QUICK, *ADAPTATION, "run_dir=run"]
ATTACKED = [*QUICK, *ATTACK, "run_dir=run"]
REFUSED = [
    ([*CODED, "trainer.images=64", "task.discriminator_start=64"], "task.discriminator_start=64:", "lower the start"),
    ([*CODED, "trainer.images=64", "task.discriminator_start=48", "task.head_start=16"], "task.head_start=16",
     "would be heard after the end, trainer.images=64"),
    ([*CODED, "task.adversarial_weight=0", "regularizer=[r1]"], "regularizer r1 wants a player discriminator",
     "generator"),
    ([*CODED, "dataset=mixture"], "task=autoencoding wants pictures", "choose another data set"),
    (without("bottleneck"), "task=autoencoding needs bottleneck=", "fsq, kl, vq"),
    (without("encoder"), "task=autoencoding needs encoder=", "vqvae"),
    ([*without("generator"), "generator=dcgan"], "generator=dcgan does not take input_shape", "vqvae"),
    ([*CODED, "encoder.halvings=5"], "encoder.halvings=5", "lower encoder.halvings"),
    ([*without("bottleneck"), "bottleneck=fsq", "bottleneck.levels=[1]"], "bottleneck.levels=[1]", "at least 2 levels"),
    ([*CODED, "task.perceptual=lpips"], "needs AlexNet's weights", "or null"),
    ([*CODED, "dataset.image_channels=3", "task.perceptual=mnist5k"], "task.perceptual=mnist5k sees", "lpips or null"),
    ([*CODED, "task.perceptual=vgg"], "task.perceptual", "lpips"),
    ([*PLAIN, "bottleneck=vq"], "bottleneck=vq", "task=generation has no use for it"),
    ([*PLAIN, "encoder=vqvae"], "encoder=vqvae", "task=generation has no use for it"),
    ([*BARE, "generator=dcgan"], "generator=dcgan does not take input_shape",
     "monai_unet, resnet_translator, segresnet, srresnet, unet, vqvae"),
    ([*QUICK, "dataset=toy_domains", *PATCHES, "run_dir=run"], "wants a column sample", "choose another task"),
    ([*BOTH, "dataset.num_of_b=0"], "no examples of domain b", ""),
    ([*BOTH, "dataset.image_size_of_b=32"], "a has uint8 of 1 x 16 x 16 and b uint8 of 1 x 32 x 32", "make them equal"),
    ([*BOTH, "dataset.channels_of_b=3"], "a has uint8 of 1 x 16 x 16 and b uint8 of 3 x 16 x 16", "image_channels"),
    ([*BOTH, "dataset=toy_deep"], "wants pictures of two domains", "dataset=two_folders"),
    ([*QUICK, *UNPAIRED[:1], *UNPAIRED[-1:], *PATCHES, "run_dir=run"], "generator=dcgan does not take input_shape",
     "monai_unet, resnet_translator, segresnet, srresnet, unet, vqvae"),
    ([*BOTH, "degradation=denoising"], "task=unpaired has no use for it", "leave it out"),
    ([*BOTH, "regularizer=[zcr]"], "regularizer zcr needs latents", "leave it out"),
    ([*BOTH, "task.pool_size=-1"], "task.pool_size=-1", "at least 0"),
    ([*BOTH, "dataset.truth=false", "evaluation.metrics=[psnr]"], "psnr cannot be measured", "no target"),
    ([*BARE, "generator=unet", "dataset=toy_domains"], "wants pictures", "this one's are a, b"),
    ([*PLAIN, "generator=unet"], "generator=unet needs input_shape", "or another part"),
    ([*PLAIN, "degradation=denoising"], "degradation=denoising", "task=generation has no use for it"),
    ([*PAIRED, "degradation=denoising"], "has sources of its own", "leave the degradation out"),
    ([*MADE, "dataset=mixture"], "wants pictures", "choose another data set"),
    ([*MADE, "degradation=blur"], "degradation=blur", "denoising, inpainting, low_dose, super_resolution"),
    ([*MADE, "dataset.image_size=30", "degradation.factor=4"], "30 x 30 do not divide by factor=4", "28 and 32"),
    ([*MADE, "discriminator.conditioning=projection"], "needs labels", "discriminator.conditioning=none"),
    ([*MADE, "regularizer=[zcr]"], "regularizer zcr needs latents", "leave it out"),
    ([*MADE, "task.pixel_weight=-1"], "task.pixel_weight=-1", "at least 0"),
    ([*MADE, "task.n_critic=2"], "task has no key n_critic", "pixel_images"),
    ([*MADE, "evaluation.metrics=[psnr_barr]"], "Did you mean psnr_bar", ""),
    ([*PLAIN, "evaluation.metrics=[psnr]"], "psnr cannot be measured", "no target"),
    ([*MADE, "evaluation.select_by=sharpness"], "neither better nor worse", ""),
    ([*MADE, "optimizer/narrator=adam"], "optimizer/narrator", "Choose from"),
    ([*MADE, "+optimizer/narrator=adam"], "optimizer/narrator", ""),
    ([*MADE, "optimizer.narrator.learning_rate=0.1"], "optimizer has no key narrator", "discriminator, generator"),
    ([*QUICK, "task=translation", *UNET, *PATCHES, "dataset=mnist5k", "run_dir=run"], "wants pairs", "dataset=pairs"),
    ([*QUICK, "task=translation", *UNET, "dataset=pairs", "run_dir=run"], "dataset.path=FOLDER", "source and target"),
    ([*ADAPTED, "dataset=mnist5k"], "wants two labelled domains", "dataset=digit_domains"),
    ([*ADAPTED, "dataset.target_classes=2"], "the source has 3 classes and the target 2", "must have the same"),
    ([*ADAPTED, "dataset=domain_folders"], "needs dataset.path=FOLDER", "dataset.other_path=FOLDER"),
    ([*ADAPTED, "discriminator=patchgan"], "discriminator=patchgan does not take sample_shape", "mlp"),
    ([*PLAIN, "classifier=lenet"], "classifier=lenet", "task=generation has no use for it"),
    ([word for word in ADAPTED if "classifier" not in word], "needs classifier=...", "lenet"),
    ([*ATTACKED, "task.epsilon=1.5"], "task.epsilon=1.5", "at most 1"),
    ([*ATTACKED, "task.epsilon=-0.1"], "task.epsilon=-0.1", "at least 0"),
    ([*ATTACKED, "task.epsilon=0"], "task.epsilon=0", "above 0"),
    ([*ATTACKED, "task.goal=3"], "task.goal=3", "0 to 2"),
    ([*ATTACKED, "task.defence=[8,32]"], "task.defence=[8, 32]", "after task.classifier_images=16"),
    ([*ATTACKED, "dataset=toy_deep"], "wants pictures with classes", "another data set"),
    ([w for w in ATTACKED if "generator" not in w], "generator=dcgan does not take input_shape", "unet"),
]  # fmt: skip


def refused(words: list[str], capfd: pytest.CaptureFixture[str], *expected: str) -> str:
    before = sorted(Path().rglob("*"))
    capfd.readouterr()
    code = main(words)
    error = capfd.readouterr().err
    assert code == 2, error
    assert error.startswith("gan-lab: "), error
    assert error.count("\n") == 1, error
    for text in expected:
        assert text in error
    assert sorted(Path().rglob("*")) == before
    return error


@pytest.mark.parametrize(("words", "what", "remedy"), REFUSED, ids=[what for _, what, _ in REFUSED])
def test_a_part_that_is_not_the_tasks_is_refused(
    words: list[str], what: str, remedy: str, workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    refused(["train", *words], capfd, what, remedy)


def test_a_setting_of_a_part_that_is_not_chosen_is_refused_with_what_to_choose(
    workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in MADE if not word.startswith("degradation")]
    refused(["train", *words, "degradation.factor=2"], capfd, "choose degradation=")


def test_selecting_by_what_no_network_changes_is_refused_with_the_reason(
    workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    error = refused(["train", *MADE, "evaluation.select_by=psnr_bar"], capfd, "evaluation.select_by=psnr_bar")
    assert "neither better nor worse" not in error


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished translation."""
    path = tmp_path_factory.mktemp("refusals") / "run"
    words = [*MADE[:-1], "trainer.images=8", "evaluation.every=0", "evaluation.metrics=[]", f"run_dir={path}"]
    assert main(["train", *words]) == 0
    return path


SAMPLED = [
    (["--label", "1"], "--label 1", "makes nothing by classes"),
    (["--grid", "interpolation"], "--grid", "interpolation"),
    (["--grid", "neighbours"], "--grid", "neighbours"),
    (["--num", "0"], "--num 0", "at least 1"),
    (["--out", "lines.txt"], "--out lines.txt", ".png"),
]


@pytest.mark.parametrize(("words", "what", "remedy"), SAMPLED, ids=[" ".join(words) for words, *_ in SAMPLED])
def test_a_translation_is_not_sampled_as_a_generator_of_noise_is(
    words: list[str], what: str, remedy: str, run: Path, workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    refused(["sample", str(run), *words], capfd, what, remedy)


def test_a_run_of_one_task_does_not_go_on_as_another(
    run: Path, workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [*QUICK, "task=generation", "dataset=toy_deep", "discriminator=patchgan", "discriminator.layers=1"]
    refused(["train", *words, "trainer.images=16", f"run_dir={run}"], capfd, "run_dir")
