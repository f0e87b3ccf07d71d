"""The layout of the package: what lies where, what imports what, and how long the way to a step is."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gan_lab import registry

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "gan_lab"
FILES = sorted(PACKAGE.rglob("*.py"))
# Each with its reason; four at most.
LONG = {
    "commands/dashboard.py": "one document for W&B, written panel by panel",
    "metrics/evaluator.py": "one pass over the samples for all measures, with the provenance of each",
}


def room(path: Path) -> str:
    """The package below gan_lab that a file lies in, or its own name at the top."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0] if parts[0] != "__init__" else "gan_lab"


def imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(module of ours, names) of each import in a file, those inside functions and for types included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "gan_lab":
            yield node.module, [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("gan_lab"):
                    yield alias.name, []


def rooms_imported(path: Path) -> set[str]:
    found = set()
    for module, names in imports(path):
        inner = module.split(".")[1:]
        found |= {inner[0]} if inner else {name for name in names if not name.startswith("__")}
    return found - {room(path)}


def test_few_files_lie_at_the_top() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 12


def test_long_files_are_few_and_known() -> None:
    long = {str(p.relative_to(PACKAGE)) for p in FILES if len(p.read_text().splitlines()) > 300}
    assert long == set(LONG)
    assert len(long) <= 4


def test_core_imports_core_alone() -> None:
    assert {other for path in (PACKAGE / "core").glob("*.py") for other in rooms_imported(path)} == set()


def test_nothing_imports_the_command_line() -> None:
    importers = [path for path in FILES if "cli" in rooms_imported(path)]
    assert [path.name for path in importers] == ["__main__.py"]


def test_the_packages_import_each_other_in_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        graph.setdefault(room(path), set()).update(rooms_imported(path))
    graph = {name: {other for other in others if other in graph} for name, others in graph.items()}
    while free := [name for name, others in graph.items() if not others]:
        graph = {name: others - set(free) for name, others in graph.items() if name not in free}
    assert not graph, f"these import each other: {graph}"


def test_no_private_name_is_used_in_another_file() -> None:
    for path in FILES:
        for module, names in imports(path):
            assert not [name for name in names if name.startswith("_") and not name.startswith("__")], (path, module)


def test_no_file_asks_which_task_it_is() -> None:
    """Nothing but tasks/ names a task: not the runs, not the commands, not the comparison."""
    registry.load()
    ours = [name for name, task in registry.tasks.classes.items() if task.__module__.startswith("gan_lab.tasks.")]
    ours.remove("text")  # a kind of sheet is called so, too
    assert len(ours) >= 8
    for path in FILES:
        if room(path) in ("tasks", "augment"):  # one of DiffAugment's parts is called translation, too
            continue
        text = path.read_text()
        for name in ours:
            assert f'"{name}"' not in text, f"{path} names the task {name}"


PROGRAM = """
import sys, torch
frames = []
step = torch.optim.Adam.step
def counted(self, *arguments, **named):
    frame = sys._getframe()
    names = []
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("gan_lab"):
            names.append(f"{module}.{frame.f_code.co_name}")
        frame = frame.f_back
    frames.append(names)
    return step(self, *arguments, **named)
torch.optim.Adam.step = counted
from gan_lab.cli import main
code = main(["train", "experiment=ring", "trainer.images=128", "evaluation.metrics=[]", "tracking.wandb.mode=disabled",
             "run_dir=run", "trainer.threads=1"])
print("\\n".join(reversed(frames[0])))
sys.exit(code)
"""


@pytest.mark.slow
def test_eight_functions_lead_from_the_command_to_the_optimizers_step(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, env=_environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    *way, own_step = [line for line in done.stdout.splitlines() if line.startswith("gan_lab.")]
    assert own_step == "gan_lab.optimizers.step"  # the optimizer's step itself
    assert way[0] == "gan_lab.cli.main"
    assert way[-1] == "gan_lab.core.loop.update"
    assert len(way) <= 8, way


def _environment() -> dict[str, str]:
    import os

    return os.environ | {"PYTHONPATH": str(ROOT)}
