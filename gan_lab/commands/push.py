"""`gan-lab push`: a run as a folder for others, model, card and picture, and to the Hugging Face Hub."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path, PureWindowsPath
from typing import Any

from gan_lab.commands.card import card
from gan_lab.core.files import read_bytes, write_atomically
from gan_lab.run import hub
from gan_lab.run.saved import MODEL, described, exported_file, write_file
from gan_lab.run.trained_run import TrainedRun
from gan_lab.tracking.outputs import check_outside_runs
from gan_lab.tracking.run_directory import RunDirectory


def push(
    run: Path,
    name: str | None,
    *,
    out: Path | None = None,
    licence: str | None = None,
    public: bool = False,
    update: bool = False,
    which: str = "newest",
) -> str:
    """Share a run as repository `name`, or as a new folder `out`. Returns what to print.

    Raises ValueError, with nothing written anywhere, where there is no run, name, token or huggingface_hub, or where
    the name or the folder is taken.
    """
    if out is None:
        if name is None:
            raise ValueError("push: give OWNER/NAME, or --out FOLDER")
        hub.check_name(name)
        hub.check_installed("gan-lab push")
        hub.check_token()
    else:
        _check_folder(out)
    title = hub.check_name(name) if name else f"OWNER/{run.resolve().stem}"
    trained = TrainedRun(run, "cpu", which)
    if out is not None:
        return _into(out, trained, title, licence)
    with tempfile.TemporaryDirectory() as place:
        make_folder(Path(place), trained, title, licence)
        address = hub.upload(Path(place), title, public=public, update=update)
    return f'{address}  ({"public" if public else "private"}); gan_lab.load("hf://{title}")'


def _check_folder(out: Path) -> None:
    if os.path.lexists(out):
        raise ValueError(f"--out {out}: it exists, and nothing is overwritten; give another name")
    if not out.parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.parent}")
    check_outside_runs("--out", out)


def _into(out: Path, trained: TrainedRun, title: str, licence: str | None) -> str:
    """Make the folder whole or not at all."""
    temporary = out.with_name(f".{out.name}-{os.getpid()}")
    temporary.mkdir()
    try:
        make_folder(temporary, trained, title, licence)
        os.rename(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return f"{out}  ({', '.join(sorted(path.name for path in out.iterdir()))}); gan_lab.load({str(out)!r})"


def make_folder(folder: Path, trained: TrainedRun, title: str, licence: str | None) -> None:
    """Write model.safetensors, config.json (what its header says), README.md and, where the run has one, a picture."""
    saved = trained.to_save
    write_file(folder / MODEL, saved, without_places)
    about = without_places(described(saved))
    write_atomically(folder / "config.json", json.dumps(about, indent=1) + "\n")
    picture = None if exported_file(trained.path) else _picture(trained, folder)
    write_atomically(folder / "README.md", card(title, about, licence, picture))


def _picture(trained: TrainedRun, folder: Path) -> str | None:
    """A copy of the newest sheet that is no newer than the weights. Returns its name."""
    sheets = {images: file for images, file in RunDirectory(trained.path).sheets().items() if images <= trained.images}
    if not sheets or sheets[max(sheets)].suffix != ".png":
        return None
    (folder / "samples.png").write_bytes(read_bytes(sheets[max(sheets)]))
    return "samples.png"


def without_places(about: dict[str, Any]) -> dict[str, Any]:
    """An exported run's header in which paths of a machine are names: `/home/me/faces` becomes `faces`.

    Errors, which may name others, are left out.
    """
    inner = {_name(path): without_places(run) for path, run in about["inner"].items()}
    summary = {name: value for name, value in about["summary"].items() if name != "error"}
    return about | {"config": _named(about["config"]), "summary": summary, "inner": inner}


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _named(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_named(inner) for inner in value]
    return _name(value) if isinstance(value, str) else value


def _name(text: str) -> str:
    """The last part of a path that begins at a root or a home; any other text as it is."""
    from_home = text.startswith("~")
    return (PureWindowsPath(text).name or text) if from_home or PureWindowsPath(text).root else text
