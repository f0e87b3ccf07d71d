"""nox: lint, types and tests. `nox -s recipes` trains, `bench` times, `faults` and `soak` break; they take minutes.

An environment holds torch once: with an active virtual environment the sessions run in it, else in one of their own.
"""

import os

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True
BACKEND = "none" if os.environ.get("VIRTUAL_ENV") else "venv"
FILES = ["gan_lab", "tests", "noxfile.py"]


def install(session: nox.Session) -> None:
    if BACKEND == "venv":
        session.install("-e", ".[dev]")


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
    """The test suite: two processes of one thread each, in minutes on two cores."""
    install(session)
    split = () if session.posargs else ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    session.run("pytest", *split, *session.posargs, env={"OMP_NUM_THREADS": "1"})


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
