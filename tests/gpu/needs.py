"""Which packages are missing, under the names by which pip knows them. Imports nothing but the standard library."""

from __future__ import annotations

import importlib.util

# What training a run imports. The others of pyproject.toml are imported where they are used, and not here.
PACKAGE = {
    "torch": "torch", "numpy": "numpy", "hydra": "hydra-core", "omegaconf": "omegaconf",
    "antlr4": "antlr4-python3-runtime", "yaml": "PyYAML", "rich": "rich", "filelock": "filelock",
    "matplotlib": "matplotlib", "PIL": "pillow",
}  # fmt: skip


def missing(modules: dict[str, str] | None = None) -> list[str]:
    """Distributions that are not installed, of those that the package itself needs unless others are given."""
    known = PACKAGE if modules is None else modules
    return [name for module, name in known.items() if importlib.util.find_spec(module) is None]


def needs(names: list[str]) -> str:
    return f"needs {', '.join(names)}, not installed here"
