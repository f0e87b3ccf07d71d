"""Every page: its links lead somewhere, its commands are ones that work, its Python is run, and the site builds."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest

from gan_lab import registry
from gan_lab.cli import main
from gan_lab.cli.parsing import Parser
from tests.pages import PAGES, ROOT, blocks, commands

NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
# Blocks that another test runs, by a word in them.
RUN = {
    "GAN_LAB_PLUGINS=my_gan": "tests/test_readme.py",
    "GAN_LAB_PLUGINS=moons": "tests/test_extending.py",
    "GAN_LAB_PLUGINS=scan_features": "tests/test_extending.py",
    "GAN_LAB_PLUGINS=autoencoder": "tests/tasks/test_plug_in.py",
    "--shell-completion": "tests/commands/test_completion.py",
}
# Other programs, and why no test runs them here.
OTHERS = {
    "pip": "asks a package registry",
    "python3": "sets up an environment: .ci/run begins so",
    "npm": "asks a package registry",
    "wandb": "wants an account",
}
TRAIN = re.compile(r"(?:.*\s)?(?:gan-lab|-m gan_lab) train\b(.*)")  # also behind srun and torchrun
PYTHON = {  # the tests that run a page's blocks
    "README.md": "tests/test_readme.py",
    "docs/python.md": "tests/interface/test_documentation.py",
    "docs/extending.md": "tests/test_extending.py, tests/tasks/test_plug_in.py",
}


def shell_commands() -> Iterator[tuple[str, str]]:
    """(page, command) of all shell blocks but those that another test runs."""
    for path in PAGES:
        for block in blocks(path, "bash", "sh"):
            if not any(word in block for word in RUN):
                yield from ((str(path.relative_to(ROOT)), command) for command in commands(block))


# -- links -------------------------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.S | re.M)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(slug if slug not in found else f"{slug}-1")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files_and_headings(name: str) -> None:
    page = ROOT / name
    text = re.sub(r"^ *```.*?^ *```|`[^`\n]*`", "", page.read_text(), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{name} links to {target}"
        assert path.is_relative_to(ROOT), f"{name} links to {target}"
        assert not anchor or anchor in anchors(path), f"{name} links to {target}: {sorted(anchors(path))}"


def test_messages_and_comments_name_pages_that_exist() -> None:
    for path in [*(ROOT / "gan_lab").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "conf").rglob("*.yaml")]:
        for name in re.findall(r"\b(?:docs|experiments)/[\w/]+\.(?:md|ipynb)|\b[A-Z]{4,}\.md", path.read_text()):
            assert (ROOT / name).exists(), f"{path} names {name}"


# -- code --------------------------------------------------------------------------------------------------------------


class Parsed(BaseException):
    """The command's words are understood."""


def test_every_line_of_shell_is_a_command_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), flags=re.M))
    parse = Parser.parse_known_args

    def parse_alone(self: Parser, *words: Any, **named: Any) -> Any:
        options, others = parse(self, *words, **named)
        if not [word for word in others if "=" not in word]:  # `evaluate` takes words of the config, too
            raise Parsed
        return options, others

    monkeypatch.setattr(Parser, "parse_known_args", parse_alone)
    seen = 0
    for page, command in shell_commands():
        if TRAIN.fullmatch(command):
            continue
        first, *words = shlex.split(command)
        if first == "gan-lab":
            with pytest.raises(Parsed):
                raise AssertionError(f"{page}: {command}: exit code {main(words)}")
        elif first == "nox":
            assert words[words.index("-s") + 1] in sessions, f"{page}: {command}"
        elif first == "python":
            assert words[0] == "-m", f"{page}: {command}"
            assert importlib.util.find_spec(words[1]), f"{page}: {command}"
        else:
            assert first in OTHERS, f"{page}: {command}: what is that? Run it here, or say in OTHERS why not"
        seen += 1
    assert seen > 30


@pytest.mark.slow
def test_every_training_command_composes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is accepted up to where it would look at its data, or send jobs: as if sbatch and ray were here."""
    pytest.importorskip("joblib", reason="the extra sweep")
    find, which, tried = importlib.util.find_spec, shutil.which, []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: name == "ray" or find(name, *more))
    monkeypatch.setattr(shutil, "which", lambda name, *more, **named: name == "sbatch" or which(name, *more, **named))
    monkeypatch.setattr("gan_lab.run.preflight.preflight", lambda config, path: None)
    monkeypatch.setattr(hydra, "main", lambda **_: lambda job: lambda: tried.append(" ".join(sys.argv[1:])))
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "sorted", "few", "scans", "masks"):
        Path(folder).mkdir()
    found = [(page, match[1]) for page, command in shell_commands() if (match := TRAIN.fullmatch(command))]
    for page, words in found:
        assert main(["train", *shlex.split(words)]) == 0, f"{page}: gan-lab train{words}"
    assert len(tried) == len(found) > 50
    launchers = {name for words in tried for name in re.findall(r"hydra/launcher=(\w+)", words)}
    assert launchers == {"laptop", "joblib", "slurm", "ray"}


def test_every_block_of_python_is_run_by_a_test() -> None:
    pages = {str(path.relative_to(ROOT)) for path in PAGES if blocks(path, "python")}
    assert pages == PYTHON.keys()


# -- the site ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("mkdocs", "material", "mkdocstrings_handlers"):
        pytest.importorskip(package, reason="the extra docs")
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 35
    for page in pages:
        text = page.read_text()
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]* src=\"?([^\"\s>]+)", text)
        loaded += re.findall(r"<link[^>]* href=\"?([^\"\s>]+)", text)
        assert not [address for address in loaded if re.match(r"(https?:)?//", address)], page
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()[\"'\s]*(https?:)?//", style.read_text()), style


@pytest.mark.slow
def test_the_reference_has_every_registered_part(site: Path) -> None:
    registry.load()
    for kind in registry.KINDS.values():
        text = (site / f"reference/{kind.kind}.html").read_text()
        headings = " ".join(re.sub(r"<[^>]+>", "", h) for h in re.findall(r"<h2.*?</h2>", text, flags=re.S))
        shown = set(re.findall(r"[\w\-.]+", headings))
        ours = {name for name, part in kind.classes.items() if part.__module__.startswith("gan_lab.")}
        assert ours <= shown, kind.kind
