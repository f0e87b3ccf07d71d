"""Whatever is wrong on a command line: exit code 2, one line that helps, and nothing written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from gan_lab import registry
from gan_lab.cli import main
from gan_lab.config import hydra_store, presets

PARTS = "experiment=none generator=mlp discriminator=mlp dataset=mixture"  # no recipe's, which may be tuned
TINY = (
    f"{PARTS} generator.width=8 generator.depth=1 discriminator.width=8 discriminator.depth=1 trainer.images=8 "
    "trainer.batch_size=8 dataset.samples=64 evaluation.samples=8 trainer.device=cpu"
).split()
TRAIN = f"train {PARTS}"

Refuse = Callable[..., str]
Usage = namedtuple("Usage", "total used free")


def contents(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """Every path below a folder with its time of change and its bytes."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
    }


@pytest.fixture
def refuse(
    workdir: Path,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
    monkeypatch: pytest.MonkeyPatch,
) -> Refuse:
    """Run a command that must be refused; returns its one line."""

    def run(words: str | list[str], *expected: str) -> str:
        before = contents(workdir)
        capfd.readouterr()
        recwarn.clear()
        with monkeypatch.context() as patch:
            patch.setattr("gan_lab.run.training_run.train", _must_not_train)
            code = main(words.split() if isinstance(words, str) else words)
        error = capfd.readouterr().err
        assert error.startswith("gan-lab: "), error
        assert error.count("\n") == 1, error
        assert error.endswith("\n")
        assert code == 2, error
        for text in expected:
            assert text in error
        assert contents(workdir) == before
        assert not recwarn.list, "a warning is a second message"
        return error

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory after one step."""
    path = tmp_path_factory.mktemp("finished") / "run"
    assert main(["train", *TINY, f"run_dir={path}"]) == 0
    return path


@pytest.fixture
def run_here(finished: Path, workdir: Path) -> Path:
    """The same run as `run` in the current directory."""
    shutil.copytree(finished, workdir / "run")
    return workdir / "run"


def _must_not_train(*_: object) -> None:
    raise AssertionError("this command was taken, and would train")


def choice(group: str, name: str) -> str:
    listed = group in registry.GROUPS and registry.GROUPS[group].listed
    return f"{group}=[{name}]" if listed else f"{group}={name}"


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", presets.groups())
def test_an_unknown_name_is_refused_with_every_choice(group: str, refuse: Refuse) -> None:
    line = refuse(["train", choice(group, "qqqq")], "qqqq", "no such choice")
    assert line.strip().endswith(f"Choose from: {', '.join(presets.options(group))}")


@pytest.mark.parametrize("group", presets.groups())
def test_a_misspelled_name_is_refused_with_the_nearest(group: str, refuse: Refuse) -> None:
    name = max(presets.options(group), key=len)
    line = refuse(["train", choice(group, f"{name}q")])
    assert name in line.split("Did you mean ")[1].split("?")[0].split(" or ")


@pytest.mark.parametrize("group", presets.groups())
def test_an_unknown_name_in_a_sweep_is_refused_before_any_job(group: str, refuse: Refuse) -> None:
    good = presets.options(group)[0]
    both = f"{choice(group, good)},{choice(group, 'qqqq').partition('=')[2]}"
    refuse(["train", "-m", both], "qqqq", "no such choice", good)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian"], "Did you mean train?"),
        (["qqqq"], "Choose from: train"),
        (["list", "generatros"], "Did you mean generators"),
        (["list", "qqqq"], "Choose from: "),
        (["sample", "run", "--num", "many"], "--num"),
        (["sample"], "RUN"),
    ],
)
def test_an_unknown_command_or_kind_is_refused(words: list[str], expected: str, refuse: Refuse) -> None:
    refuse(words, expected)


def test_no_command_is_wrong_usage_and_prints_the_help(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "gan-lab train" in capsys.readouterr().out


# -- values ------------------------------------------------------------------------------------------------------------

STRINGS_FOR_PARTS = [
    ("optimizer=sgd", "optimizer/generator=..."),
    ("schedule=cosine", "schedule/learning_rate=..."),
    ("generator.name=mlp", "generator=mlp"),
    ("optimizer.generator.name=sgd", "optimizer/generator=sgd"),
    ("trainer=fast", "trainer"),
    ("tracking.wandb=off", "tracking.wandb"),
    ("regularizer=r1", "[r1]"),
    ("generator=[mlp]", "one name"),
    ("generator=", "generator"),
    ("regularizer=[r1] regularizer.r1=3", "r1=3"),
    ("regularizer.r1.gamma=3", "regularizer"),
]


@pytest.mark.parametrize(("words", "expected"), STRINGS_FOR_PARTS)
def test_a_value_where_a_part_belongs_is_refused(words: str, expected: str, refuse: Refuse) -> None:
    refuse(f"{TRAIN} {words}", expected)


WRONG_TYPES = [
    ("trainer.images=many", "trainer.images"),
    ("trainer.compile=perhaps", "trainer.compile"),
    ("generator.width=1.5", "generator.width"),
    ("generator.width=null", "generator.width"),
    ("generator.width.inner=8", "generator.width"),
    ("evaluation.metrics=modes", "evaluation.metrics"),
    ("tracking.wandb.tags=5", "tracking.wandb.tags"),
    ("optimizer.generator.learning_rate=fast", "optimizer.generator.learning_rate"),
    ("dataset=mnist5k dataset.image_size=[32,32,32]", "dataset.image_size"),
    ("dataset=mnist5k dataset.image_size=[32,big]", "dataset.image_size"),
    ("dataset.layout=rign", "ring"),
    ("generator.widht=8", "Did you mean width"),
    ("trainer.imagse=8", "Did you mean images"),
    ("tracking.wandb.mdoe=offline", "Did you mean mode"),
    ("qqqq=1", "qqqq"),
]


@pytest.mark.parametrize(("words", "expected"), WRONG_TYPES)
def test_a_wrong_type_or_key_is_refused_by_its_name(words: str, expected: str, refuse: Refuse) -> None:
    refuse(f"{TRAIN} {words}", expected)


IMPOSSIBLE = [
    ("trainer.images=0", "trainer.images=0: it must be at least 1"),
    ("trainer.batch_size=0", "trainer.batch_size=0: it must be at least 1"),
    ("trainer.batch_size=64 trainer.micro_batches=3", "not divisible"),
    ("trainer.seed=-1", "trainer.seed=-1"),
    ("trainer.precision=fp7", "fp32, bf16"),
    ("trainer.device=abacus", "choose from auto"),
    ("trainer.ema=1", "trainer.ema"),
    ("generator.latent_dim=-1", "generator.latent_dim=-1: it must be at least 1"),
    ("optimizer.generator.learning_rate=-0.1", "it must be more than 0"),
    ("optimizer.generator.learning_rate=nan", "it must be more than 0"),
    ("optimizer.discriminator.learning_rate=inf", "optimizer.discriminator.learning_rate"),
    ("optimizer.generator=sgd optimizer.generator.nesterov=true", "momentum"),
    ("dataset.std=0", "dataset.std"),
    ("evaluation.metrics=[mods]", "Did you mean modes"),
    ("evaluation.batch_norm=frozen", "running, batch"),
    ("tracking.wandb.mode=on", "auto, online, offline, disabled"),
    ("resume=maybe", "auto, never"),
    ("regularizer=[r1] regularizer.r1.gamma=-1", "regularizer.r1.gamma=-1"),
    ("schedule/learning_rate=cosine schedule.learning_rate.final=2", "schedule.learning_rate.final"),
    ("generator=dcgan", "choose other data, or another part: mlp"),
    ("augment=flip", "needs image_size"),
    ("dataset=mnist5k generator=dcgan discriminator=dcgan dataset.image_size=33", "near it are 24, 28, 32, 40"),
    ("dataset=mnist5k generator=dcgan discriminator=dcgan dataset.image_size=4", "near it are 8"),
    ("hydra.mode=SIDEWAYS", "hydra.mode"),
    ("hydra/launcher=qqqq", "Choose from: basic"),
    ("hydra/launcher=bsic", "Did you mean basic?"),
    ("hydra/sweeper=qqqq", "Choose from: basic"),
    ("hydra.launcher.n_jobs=2", "hydra/launcher=basic has no such setting"),
]


@pytest.mark.parametrize(("words", "expected"), IMPOSSIBLE)
def test_an_impossible_value_is_refused_with_what_is_possible(words: str, expected: str, refuse: Refuse) -> None:
    refuse(f"{TRAIN} {words}", expected)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("generator=dcgan,mlp", "-m"),
        ("trainer.seed=1,2", "-m"),
        ("-m trainer.seed=1,two", "trainer.seed"),
        ("-m generator.width=8,0", "generator.width=0"),
        ("-m generator=dcgan,mlp generator.width=8,wide", "generator.width"),
        ("-m regularizer=[],[qqqq]", "r1"),
        ("-m regularizer=r1,[]", "[r1]"),
        ("-m tracking.wandb.mode=offline,disabled", "sweep something else"),
        ("-m trainer.qqqq=1,2", "qqqq"),
        ("-m trainer.seed=1,2,1", "the same job twice"),
        ("-m hydra/launcher=basic,basic", "cannot be swept"),
        ("-m hydra.verbose=true,false", "cannot be swept"),
        ("-m search=none,r1_gamma", "one search at a time"),
        ("search=r1_gama", "Did you mean r1_gamma?"),
        ("search=r1_gamma regularizer.r1.gamma=1,-1", "regularizer.r1.gamma=-1"),
        ("search=r1_gamma loss=minimax,hing", "loss=hing"),
        ("--cfg job trainer.seed=1,2", "give one value"),
    ],
)
def test_a_sweep_that_cannot_run_is_refused_before_any_job(words: str, expected: str, refuse: Refuse) -> None:
    refuse(f"{TRAIN} {words}", expected)


PACKAGES = {
    "launcher=joblib": '"hydra-gan-lab[sweep]"',
    "launcher=submitit_local": "hydra-submitit-launcher",
    "launcher=submitit_slurm": "hydra-submitit-launcher",
}


@pytest.mark.parametrize("choice", PACKAGES)
def test_a_launcher_that_is_not_installed_is_refused_with_what_to_install(
    choice: str, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra.core.config_store import ConfigStore

    hydra_store.publish()
    kind, _, name = choice.partition("=")
    assert main(["train", "--cfg", "job", "experiment=none"]) == 0  # Hydra has loaded its plug-ins
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"][kind], f"{name}.yaml", raising=False)
    for words in (f"{TRAIN} hydra/{choice}", f"{TRAIN} -m hydra/{choice} trainer.seed=1,2"):
        line = refuse(words, f"hydra/{choice} is not installed")
        assert line.strip().endswith(f"pip install {PACKAGES[choice]}")


@pytest.mark.parametrize("words", ["-m trainer.seed=1,2", "search=r1_gamma"])
def test_a_sweeps_folder_that_cannot_be_made_is_refused(words: str, workdir: Path, refuse: Refuse) -> None:
    (workdir / "file").write_text("x")
    refuse(f"{TRAIN} {words} sweep_dir=file", "sweep_dir=file", "is a file")
    refuse(f"{TRAIN} {words} sweep_dir=file/sweep", "sweep_dir=file/sweep", "is a file")


def test_a_sweep_needs_workers(refuse: Refuse) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the extra sweep is not installed")
    refuse(f"{TRAIN} -m hydra/launcher=joblib hydra.launcher.n_jobs=0 trainer.seed=1,2", "n_jobs=0", "-1")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["generator"], "key=value"),
        (["generator.width=[1"], "grammar"),
        (["run_dir=a b(c"], "quotes"),
        (["=5"], "key=value"),
        (["--qqqq"], "--qqqq"),
        (["--config-name", "other"], "--config-dir"),
        (["--config-path", "."], "--config-dir"),
        (["--config-dir", "missing"], "missing"),
        (["--config-dir"], "--config-dir"),
        (["hydra.searchpath=[file://missing]"], "missing"),
        (["--cfg", "job", "generator.width=wide"], "generator.width"),
        (["--cfg", "job", "generator=qqqq"], "Choose from"),
        (["--cfg", "qqqq"], "job"),
    ],
)
def test_a_word_that_says_nothing_is_refused(words: list[str], expected: str, refuse: Refuse) -> None:
    refuse(["train", *words], expected)


# -- what a config must not do -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word",
    [
        "generator._target_=os.getcwd",
        "+generator._target_=os.getcwd",
        "+anything={_target_:os.getcwd}",
        "+hydra.callbacks.mine._target_=os.getcwd",
        "hydra.callbacks.mine.value=1",
        "+hydra.callbacks={}",
        "hydra.launcher._target_=os.getcwd",
        "hydra/callbacks=mine",
    ],
)
def test_an_override_cannot_import_or_call(word: str, refuse: Refuse) -> None:
    line = refuse(["train", word])
    assert "_target_" in line or "callbacks" in line


TARGET = "{_target_: marker.touch}"
DECODED = "${oc.decode:'{_target_:marker.touch}'}"
EVIL = {
    "a target": "trainer:\n  _target_: marker.touch\n",
    "an escaped target": 'trainer:\n  "_tar\\u0067et_": marker.touch\n',
    "a target in a list": f"evaluation:\n  metrics:\n    - {TARGET}\n",
    "a target behind an anchor": f"trainer: &a\n  x: {TARGET}\ntracking: *a\n",
    "a callback": f"hydra:\n  callbacks:\n    mine: {TARGET}\n",
    "a callback without a target": "hydra:\n  callbacks: {}\n",
    "a callback by the defaults": "defaults:\n  - override /hydra/callbacks: mine\n",
    "a sweeper with a target": f"hydra:\n  sweeper: {TARGET}\n",
    "a sweeper decoded from a string": f'hydra:\n  sweeper: "{DECODED}"\n',
    "a launcher decoded from a string": f'hydra:\n  launcher: "{DECODED}"\n',
    "a callback by the header": f'# @package hydra\ncallbacks:\n  mine: "{DECODED}"\n',
    "callbacks by the header": f'# @package hydra.callbacks\nmine: "{DECODED}"\n',
    "a run folder": "hydra:\n  run:\n    dir: elsewhere\n",
    "a run folder by the header": "# @package hydra\nrun:\n  dir: elsewhere\n",
}


CASES = [([], what) for what in EVIL] + [(["-m"], what) for what in EVIL if "sweeper" in what or "header" in what]


@pytest.mark.parametrize(("flags", "what"), CASES)
def test_an_experiment_file_cannot_import_or_call(
    flags: list[str], what: str, workdir: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workdir / "marker.py").write_text(
        f"import pathlib\ndef touch(*a, **k):\n    pathlib.Path({str(workdir / 'touched')!r}).touch()\n"
    )
    monkeypatch.syspath_prepend(workdir)
    (workdir / "mine" / "experiment").mkdir(parents=True)
    header = "" if EVIL[what].startswith("# @package") else "# @package _global_\n"
    (workdir / "mine" / "experiment" / "evil.yaml").write_text(header + EVIL[what])
    refuse(["train", *flags, "--config-dir", "mine", *TINY[1:], "experiment=evil"], "evil")


@pytest.mark.parametrize("where", ["generator", "hydra/launcher", "hydra/callbacks", "anything"])
def test_a_preset_file_cannot_import_or_call(where: str, workdir: Path, refuse: Refuse) -> None:
    (workdir / "mine" / where).mkdir(parents=True)
    (workdir / "mine" / where / "evil.yaml").write_text("_target_: os.getcwd\n")
    refuse("train --config-dir mine", "evil.yaml", "_target_")


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\tx: 1", "!!python/object:os.system {}"])
def test_a_preset_that_is_no_yaml_is_refused_by_its_name(text: str, workdir: Path, refuse: Refuse) -> None:
    (workdir / "mine" / "generator").mkdir(parents=True)
    (workdir / "mine" / "generator" / "broken.yaml").write_text(text)
    refuse("train --config-dir mine generator=broken", "broken.yaml")


def test_a_preset_cannot_take_a_registered_name(workdir: Path, refuse: Refuse) -> None:
    (workdir / "mine" / "generator").mkdir(parents=True)
    (workdir / "mine" / "generator" / "mlp.yaml").write_text("width: 4\n")
    refuse("train --config-dir mine generator=mlp", "generator=mlp is taken")


def test_a_preset_with_a_wrong_key_is_refused(workdir: Path, refuse: Refuse) -> None:
    (workdir / "mine" / "generator").mkdir(parents=True)
    (workdir / "mine" / "generator" / "small.yaml").write_text("defaults: [mlp, _self_]\nwidht: 4\n")
    refuse(f"{TRAIN} --config-dir mine generator=small", "widht")


@pytest.mark.parametrize(
    "key",
    [
        "tracking.wandb.api_key",
        "+api_key",
        "+key",
        "+apikey",
        "+API_KEY",
        "+WANDB_API_KEY",
        "+wandb.api-key",
        "+generator.token",
        "+hub_token",
        "+user.password",
        "+client_secret",
        "+secret_key",
        "+credentials",
    ],
)
def test_an_override_that_looks_like_a_secret_is_refused_without_repeating_it(key: str, refuse: Refuse) -> None:
    assert "hunter2" not in refuse(["train", f"{key}=hunter2"], "secret", "environment")


@pytest.mark.parametrize("name", ["key_dim", "num_keys", "tokens", "secretion"])
def test_an_override_that_only_sounds_like_a_secret_is_taken_for_a_key(name: str, refuse: Refuse) -> None:
    line = refuse(["train", f"generator.{name}=5"], f"generator has no key {name}")
    assert "looks like a secret" not in line


@pytest.mark.parametrize(
    "word",
    [
        "+generator=mlp",
        "+generator.widht=3",
        "++generator.width=3",
        "~generator",
        "~generator.width",
        "+optimizer.generator.momentun=1",
        "+optimizer/generator=sgd",
        "~experiment",
        "+experiment=ring",
        "+regularizer.r1.gamma=3",
        "+trainer.imagse=3",
        "++trainer.imagse=3",
        "+tracking.wandb.mdoe=offline",
        "+qqqq=3",
        "~trainer",
        "~trainer.images",
        "~tracking.wandb",
        "~resume",
        "~run_dir",
    ],
)
def test_adding_and_deleting_cannot_slip_past_the_checks(word: str, refuse: Refuse) -> None:
    refuse(["train", "experiment=ring", word], word.strip("+~").partition("=")[0].split(".")[-1].split("/")[-1])


@pytest.mark.parametrize(
    ("words", "expected"),
    [("trainer=fast", "trainer"), ("trainer.images=many", "trainer.images"), ("trainer.precision=fp7", "fp32, bf16")],
)
def test_hydras_full_errors_do_not_bring_a_traceback(
    words: str, expected: str, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    refuse(f"{TRAIN} {words}", expected)


# -- data --------------------------------------------------------------------------------------------------------------


def test_a_picture_folder_must_be_named(refuse: Refuse) -> None:
    refuse("train dataset=image_folder", "dataset.path=FOLDER")


@pytest.mark.parametrize("dataset", ["image_folder", "cifar10"])
def test_a_missing_data_folder_is_refused(dataset: str, refuse: Refuse) -> None:
    refuse(f"train dataset={dataset} dataset.path=nowhere", "dataset.path=nowhere", "no such folder")


@pytest.mark.parametrize("dataset", ["image_folder", "cifar10"])
def test_a_file_as_data_folder_is_refused(dataset: str, workdir: Path, refuse: Refuse) -> None:
    (workdir / "file").write_text("x")
    refuse(f"train dataset={dataset} dataset.path=file", "dataset.path=file")


def test_a_data_folder_without_pictures_is_refused(workdir: Path, refuse: Refuse) -> None:
    (workdir / "pictures").mkdir()
    (workdir / "pictures" / "readme.txt").write_text("no picture")
    refuse("train dataset=image_folder dataset.path=pictures", "dataset.path=pictures", ".png")


def test_a_data_folder_without_cifar_is_refused(workdir: Path, refuse: Refuse) -> None:
    (workdir / "pictures").mkdir()
    refuse("train dataset=cifar10 dataset.path=pictures", "dataset.path=pictures", "cifar-10-batches-py")


def test_a_data_folder_whose_pictures_are_all_cut_is_refused(workdir: Path, refuse: Refuse) -> None:
    from PIL import Image

    (workdir / "pictures").mkdir()
    for i in range(3):
        path = workdir / "pictures" / f"{i}.png"
        Image.effect_noise((40, 40), 50).save(path)
        path.write_bytes(path.read_bytes()[:200])
    refuse("train dataset=image_folder dataset.path=pictures", "no picture could be read", "0.png")


# -- run directories ---------------------------------------------------------------------------------------------------


def test_a_run_directory_of_another_config_is_refused_and_left_alone(run_here: Path, refuse: Refuse) -> None:
    refuse(["train", *TINY, "run_dir=run", "loss=minimax"], "run_dir=run", "another config", "another run_dir")
    refuse(["train", *TINY, "run_dir=run", "trainer.seed=5"], "another config")


def test_an_existing_run_is_not_resumed_where_resume_is_never(run_here: Path, refuse: Refuse) -> None:
    refuse(["train", *TINY, "run_dir=run", "resume=never"], "resume=never", "resume=auto")


def test_a_run_directory_that_is_a_file_is_refused(workdir: Path, refuse: Refuse) -> None:
    (workdir / "run").write_text("mine")
    refuse(["train", *TINY, "run_dir=run"], "run_dir=run is a file")


def test_a_run_directory_inside_a_file_is_refused(workdir: Path, refuse: Refuse) -> None:
    (workdir / "file").write_text("mine")
    (workdir / "file").chmod(0o755)
    refuse(["train", *TINY, "run_dir=file/run"], "run_dir=file/run", "file")


def test_a_run_directory_with_foreign_files_is_refused(workdir: Path, refuse: Refuse) -> None:
    (workdir / "thesis").mkdir()
    (workdir / "thesis" / "chapter1.tex").write_text("It was a dark and stormy night")
    refuse(["train", *TINY, "run_dir=thesis"], "chapter1.tex", "another folder")


def test_hydras_own_folders_do_not_slip_past_the_checks(workdir: Path, refuse: Refuse) -> None:
    (workdir / "thesis").mkdir()
    (workdir / "thesis" / "chapter1.tex").write_text("It was a dark and stormy night")
    refuse(["train", *TINY, "hydra.run.dir=thesis"], "run_dir")
    refuse(["train", "-m", *TINY, "hydra.sweep.dir=thesis"], "sweep_dir")


def test_a_run_directory_in_use_is_refused(workdir: Path, refuse: Refuse) -> None:
    from gan_lab.tracking.run_directory import RunDirectory

    directory = RunDirectory(workdir / "run")
    directory.lock()
    try:
        refuse(["train", *TINY, "run_dir=run"], "run_dir=run is in use")
    finally:
        directory.release()


def test_more_images_are_refused_where_the_schedule_depends_on_them(workdir: Path, refuse: Refuse) -> None:
    cosine = [*TINY, "schedule/learning_rate=cosine", "run_dir=planned"]
    assert main(["train", *cosine]) == 0
    refuse(["train", *cosine, "trainer.images=16"], "schedule/learning_rate=cosine", "trainer.images=8")


def test_more_images_continue_a_run_whose_schedule_does_not_depend_on_them(run_here: Path) -> None:
    assert main(["train", *TINY, "run_dir=run", "trainer.images=16"]) == 0
    assert yaml.safe_load((run_here / "summary.json").read_text())["images"] == 16


def test_a_numeric_run_directory_is_a_folder_name(workdir: Path) -> None:
    assert main(["train", *TINY, "run_dir=2024"]) == 0
    assert (workdir / "2024" / "summary.json").is_file()


@pytest.mark.parametrize("word", ["run_dir=[a]", "run_dir={a:1}", "sweep_dir=[a] -m", "sweep_name={a:1} -m"])
def test_a_run_directory_must_be_a_path(word: str, refuse: Refuse) -> None:
    refuse(["train", *TINY, *word.split()], word.partition("=")[0])


def test_a_full_disk_is_refused_with_what_a_run_takes(refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 1000, 1000))
    refuse(["train", *TINY, "run_dir=run"], "run_dir=run", "0.0 MB free", "checkpoints")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_without_a_device_is_refused_with_what_is_here(refuse: Refuse) -> None:
    refuse(["train", *TINY, "trainer.device=cuda"], "trainer.device=cuda", "choose from auto", "cpu")


def test_online_tracking_without_a_key_is_refused(
    workdir: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(workdir / "netrc"))
    refuse(["train", *TINY, "tracking.wandb.mode=online"], "wandb login")
    refuse(["train", "-m", *TINY, "tracking.wandb.mode=online", "trainer.seed=1,2"], "wandb login")


# -- plug-ins ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["train", *TINY], ["list"], ["list", "generators"]])
def test_a_failing_plugin_is_named_with_file_and_line(
    command: list[str], workdir: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(registry, "_loaded", False)
    monkeypatch.syspath_prepend(workdir)
    (workdir / "broken_plugin.py").write_text("import math\n\nmath.no_such_thing\n")
    monkeypatch.setenv("GAN_LAB_PLUGINS", "broken_plugin")
    refuse(command, "plug-in broken_plugin", "AttributeError", "broken_plugin.py:3")


def test_a_missing_plugin_is_named(refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_loaded", False)
    monkeypatch.setenv("GAN_LAB_PLUGINS", "no_such_plugin")
    assert "<frozen" not in refuse("list", "plug-in no_such_plugin", "ModuleNotFoundError")


def test_a_process_says_the_same_one_line(workdir: Path) -> None:
    environment = os.environ | {"HYDRA_FULL_ERROR": "1"}
    words = [sys.executable, "-m", "gan_lab", "train", "experiment=ring", "generator.width=wide"]
    result = subprocess.run(words, cwd=workdir, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("gan-lab: generator.width")
    assert result.stderr.count("\n") == 1
    assert not list(workdir.iterdir())


# -- sample ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("nowhere", "nowhere is no run directory"),
        ("run --num 0", "--num 0"),
        ("run --num -3", "--num -3"),
        ("run --out picture.jpg", ".png"),
        ("run --out missing/picture.png", "missing"),
        ("run --out run", "not an empty folder"),
        ("run --out points", "points, not pictures"),
        ("run --device abacus", "choose from auto"),
        ("runs", "it holds runs: run"),
    ],
)
def test_samples_that_cannot_be_made_are_refused(words: str, expected: str, run_here: Path, refuse: Refuse) -> None:
    shutil.copytree(run_here, run_here.parent / "runs" / "run")
    refuse(f"sample {words}", expected)


def test_a_run_without_a_checkpoint_cannot_be_sampled(run_here: Path, refuse: Refuse) -> None:
    shutil.rmtree(run_here / "checkpoints")
    refuse("sample run", "no checkpoint yet")


def test_a_run_whose_checkpoints_are_all_damaged_cannot_be_sampled(run_here: Path, refuse: Refuse) -> None:
    for path in run_here.glob("checkpoints/*/state.pt"):
        path.write_bytes(path.read_bytes()[:-100])
    refuse("sample run", "every checkpoint in run/checkpoints is damaged")


def test_a_run_with_plugins_asks_for_them(run_here: Path, refuse: Refuse) -> None:
    from gan_lab.core import checkpoint

    state = checkpoint.load_newest(run_here / "checkpoints")
    assert state is not None
    state["about"]["plugins"] = ["their_plugin"]
    shutil.rmtree(run_here / "checkpoints")
    checkpoint.save(state | {"images": state["game"]["images"]}, run_here / "checkpoints")
    refuse("sample run", "GAN_LAB_PLUGINS='their_plugin'")
