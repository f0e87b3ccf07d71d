"""What Python's users rely on: names, signatures, and that importing costs nothing."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import gan_lab

# A change here is a change that users notice: say so in CHANGELOG.md.
SURFACE = {
    "train": "(overrides: 'Sequence[str]' = ()) -> 'Run'",
    "sweep": "(overrides: 'Sequence[str]') -> 'Sweep'",
    "load": "(path: 'Path | str', *, checkpoint: 'str | int' = 'newest', device: 'str' = 'auto') -> 'Run'",
    "compare": (
        "(runs: 'Sequence[Path | str | Run | Sweep]', *, metric: 'str | None' = None, at: 'str | None' = None, "
        "where: 'Sequence[str]' = ()) -> 'Comparison'"
    ),
    "Run": "(path: 'Path | str', *, checkpoint: 'str | int' = 'newest', device: 'str' = 'auto') -> 'None'",
    "Run.path": "attribute",
    "Run.networks": "property",
    "Run.config": "property",
    "Run.summary": "property",
    "Run.status": "property",
    "Run.metrics": "(self) -> 'pandas.DataFrame'",
    "Run.sample": (
        "(self, num: 'int' = 64, *, seed: 'int' = 0, label: 'Label | None' = None, "
        "truncation: 'float | None' = None) -> 'Tensor'"
    ),
    "Run.examples": (
        "(self, num: 'int' = 64, *, seed: 'int' = 0, label: 'Label | None' = None, "
        "truncation: 'float | None' = None) -> 'dict[str, Tensor]'"
    ),
    "Run.show": (
        "(self, num: 'int | None' = None, *, seed: 'int' = 0, label: 'Label | None' = None, "
        "grid: 'str | None' = None, truncation: 'float | None' = None) -> 'Sheet'"
    ),
    "Run.evaluate": (
        "(self, metrics: 'Sequence[str] | None' = None, *, samples: 'int | None' = None, "
        "noise_seeds: 'int | None' = None, overrides: 'Sequence[str]' = ()) -> 'Scores'"
    ),
    "Run.export": (
        "(self, file: 'Path | str', *, format: 'str | None' = None, direction: 'str | None' = None) -> 'None'"
    ),
    "Run.push": (
        "(self, name: 'str | None' = None, *, out: 'Path | str | None' = None, license: 'str | None' = None, "
        "public: 'bool' = False, update: 'bool' = False) -> 'None'"
    ),
    "Sweep": "(path: 'Path | str') -> 'None'",
    "Sweep.path": "attribute",
    "Sweep.runs": "property",
    "Sweep.outcomes": "property",
    "Sweep.table": "(self) -> 'pandas.DataFrame'",
    "Sweep.compare": (
        "(self, *, metric: 'str | None' = None, at: 'str | None' = None, where: 'Sequence[str]' = ()) -> 'Comparison'"
    ),
    "Comparison.settings": "property",
    "Comparison.content": "attribute",
    "Comparison.table": "(self) -> 'pandas.DataFrame'",
    "Comparison.write_page": "(self, file: 'Path | str') -> 'None'",
}


def test_names_and_signatures_stay_what_they_are() -> None:
    for name, expected in SURFACE.items():
        owner, _, member = name.rpartition(".")
        if expected == "attribute":
            assert f"self.{member}" in inspect.getsource(getattr(gan_lab, owner).__init__), name
            continue
        found = inspect.getattr_static(getattr(gan_lab, owner) if owner else gan_lab, member, None)
        found = found or getattr(gan_lab, member)
        assert (expected == "property") if isinstance(found, property) else str(inspect.signature(found)) == expected, (
            name, str(inspect.signature(found)) if callable(found) else found,
        )  # fmt: skip
    assert {name for name in SURFACE if "." not in name} | {"Comparison", "__version__"} == set(gan_lab.__all__)


def test_no_public_name_is_forgotten_here() -> None:
    for owner in ("Run", "Sweep", "Comparison"):
        members = [name for name in vars(getattr(gan_lab, owner)) if not name.startswith("_")]
        known = {name.partition(".")[2] for name in SURFACE if name.startswith(f"{owner}.")}
        assert set(members) - {"print_to", "trained"} <= known, owner


def test_importing_it_imports_nothing_heavy() -> None:
    program = (
        "import sys, gan_lab; dir(gan_lab); "
        "print([name for name in ('torch', 'hydra', 'numpy', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_subpackages_do_not_take_the_place_of_functions() -> None:
    program = (
        "import gan_lab.sweeping.table, gan_lab.comparing.table, gan_lab.commands.train, gan_lab; "
        "print(all(callable(getattr(gan_lab, name)) for name in ('train', 'sweep', 'compare', 'load')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_it_is_typed() -> None:
    assert (Path(gan_lab.__file__).parent / "py.typed").exists()
