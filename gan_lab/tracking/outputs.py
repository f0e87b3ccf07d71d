"""Checks a file that a command is asked to write, before the command does its work."""

from __future__ import annotations

from pathlib import Path

OF_A_RUN = ("summary.json", "metrics.jsonl")  # a folder with one of these is a run


def check_output(option: str, file: Path | None) -> None:
    """Raise ValueError for a file that cannot be written, or that lies in a run, at any depth: a run stays as it is."""
    if file is None:
        return
    if not file.parent.is_dir():
        raise ValueError(f"{option} {file}: there is no folder {file.parent}")
    if file.is_dir():
        raise ValueError(f"{option} {file}: this is a folder; give a file in it")
    check_outside_runs(option, file)


def check_outside_runs(option: str, path: Path) -> None:
    """Raise ValueError where a file or folder to be written is or lies in a run, at any depth."""
    for folder in (path, *path.resolve().parents):
        if any((folder / name).is_file() for name in OF_A_RUN):
            raise ValueError(f"{option} {path}: {folder} is a run, and stays as it is; write elsewhere")
