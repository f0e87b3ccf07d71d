"""nox: lint, types and tests. `nox -s slow` is the rest of the suite, which CI runs, too.

`nox -s recipes` trains, `bench` times, `faults`, `soak`, `fuzz` break: long.

An environment holds torch once: with an active virtual environment the sessions run in it, else in one of their own.
"""

import os
import sysconfig

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True
BACKEND = "none" if os.environ.get("VIRTUAL_ENV") else "venv"
FILES = ["gan_lab", "tests", "docs", "noxfile.py"]
# Lower bounds of pyproject.toml for packages that read what strangers write.
OLDEST = ("hydra-core==1.3.8", "omegaconf==2.3.0", "safetensors==0.5.0", "pillow==10.1.0", "filelock==4.3.1")


def install(session: nox.Session) -> None:
    if BACKEND == "venv":
        session.install("-e", ".[dev]")


def run_tests(session: nox.Session, which: str) -> None:
    """Those with this mark, or the ones that the command line names."""
    chosen = session.posargs or ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-m", which)
    session.run("pytest", *chosen, env={"OMP_NUM_THREADS": "1"})


@nox.session(venv_backend="venv")
def lint(session: nox.Session) -> None:
    """Style, formatting, YAML and spelling; an environment of its own, without torch."""
    session.install("ruff==0.17.6", "yamllint==1.38.0", "codespell==2.4.3")
    session.run("ruff", "check", *FILES)
    session.run("ruff", "format", "--check", *FILES)
    session.run("yamllint", "--strict", "conf", "experiments")
    session.run("codespell")


@nox.session(venv_backend=BACKEND)
def types(session: nox.Session) -> None:
    """mypy: strict on core/ and the registry."""
    install(session)
    session.run("mypy")


@nox.session(venv_backend=BACKEND)
def tests(session: nox.Session) -> None:
    """The quick tests: two processes of one thread each, in minutes on two cores."""
    install(session)
    run_tests(session, "not slow")


@nox.session(venv_backend=BACKEND)
def slow(session: nox.Session) -> None:
    """The tests that take more than a few seconds each: killed runs, sweeps, a browser, a small fuzz."""
    install(session)
    run_tests(session, "slow")


@nox.session(venv_backend=BACKEND)
def docs(session: nox.Session) -> None:
    """The site, into site/; `nox -s docs -- serve` shows it on 127.0.0.1:8000, and follows changes."""
    install(session)
    session.run("mkdocs", *(session.posargs or ("build", "--strict")), env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(venv_backend=BACKEND)
def fuzz(session: nox.Session) -> None:
    """2,000 random command lines and 10,000 damaged files, each with a limit of time and memory: an hour or two."""
    install(session)
    session.run("python", "-m", "tests.fuzz", *(session.posargs or ("--overrides", "2000", "--damage", "10000")))


@nox.session(venv_backend="venv")
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of the packages beside this nox. Needs the network."""
    session.install("pip-audit>=2.10")
    session.run("pip-audit", "--path", sysconfig.get_path("purelib"), "--progress-spinner", "off", *session.posargs)


@nox.session(venv_backend=BACKEND)
def oldest(session: nox.Session) -> None:
    """Configs, checkpoints and pictures with the oldest versions that pyproject.toml allows."""
    install(session)
    folder = session.create_tmp()
    session.run("pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", folder, *OLDEST)
    tests = session.posargs or ("tests/test_config.py", "tests/test_nobody_let_in.py", "tests/test_strange_runs.py")
    session.run("pytest", *tests, "tests/hostile", env={"OMP_NUM_THREADS": "1", "PYTHONPATH": folder})


@nox.session(venv_backend=BACKEND)
def recipes(session: nox.Session) -> None:
    """Train the experiments that a CPU can and check what experiments/README.md says they reach."""
    install(session)
    session.run("pytest", "tests/recipes", "-s", *session.posargs)


@nox.session(venv_backend=BACKEND)
def faults(session: nox.Session) -> None:
    """Break runs in every known way and print one table: minutes. The quick rows are a part of the tests."""
    install(session)
    session.run("python", "-m", "tests.faults", *session.posargs)


@nox.session(venv_backend=BACKEND)
def soak(session: nox.Session) -> None:
    """Ten minutes of a run that is left alone beside one that is killed again and again."""
    install(session)
    session.run("python", "-m", "tests.faults.soak", *session.posargs)


@nox.session(venv_backend=BACKEND)
def extractors(session: nox.Session) -> None:
    """Train the feature extractors that ship with the project, into a folder: extractors/, unless another is named."""
    install(session)
    session.run("python", "-m", "gan_lab.feature_extractors.training", *session.posargs)


@nox.session(venv_backend=BACKEND)
def bench(session: nox.Session) -> None:
    """Ratios of time and memory against plain baselines, in interleaved rounds."""
    install(session)
    session.run("python", "-m", "tests.benchmarks", *session.posargs)


@nox.session(venv_backend=BACKEND)
def gpu(session: nox.Session) -> None:
    """What only a GPU can show, in four minutes on one card: tests, speed, waits, exact resume, time to quality."""
    install(session)
    session.run("python", "-m", "tests.gpu", *session.posargs)
