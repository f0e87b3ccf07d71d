"""Run directories from a stranger: no pickle, no tag of YAML and no `_target_` in them is called."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_lab.cli import main
from tests.hostile.conftest import TINY, Refused
from tests.test_promises import TAGS, TARGETS

# -- checkpoints -------------------------------------------------------------------------------------------------------


class Reduce:
    """What a pickle may hold: a function and its arguments."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.marker}'",)


def _text(marker: Path) -> bytes:
    return f"touch '{marker}'".encode()


GADGETS: dict[str, Callable[[Path], bytes]] = {
    "REDUCE": lambda marker: pickle.dumps(Reduce(marker), protocol=2),
    "GLOBAL": lambda marker: b"cposix\nsystem\n(X" + len(_text(marker)).to_bytes(4, "little") + _text(marker) + b"tR.",
    "STACK_GLOBAL": lambda marker: pickle.dumps(Reduce(marker), protocol=4),
    "INST": lambda marker: b"(X" + len(_text(marker)).to_bytes(4, "little") + _text(marker) + b"iposix\nsystem\n.",
    "nested": lambda marker: pickle.dumps({"game": {"images": 128}, "about": [{"a": (Reduce(marker),)}]}, protocol=2),
}


def _in_an_archive(content: bytes) -> bytes:
    """As torch saves it."""
    packed = io.BytesIO()
    torch.save({}, packed)
    out = io.BytesIO()
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name.endswith("data.pkl") else old.read(name))
    return out.getvalue()


def sign(state: Path, **changes: Any) -> None:
    """Make the manifest right for the state beside it."""
    manifest = json.loads((state.parent / "manifest.json").read_text())
    content = state.read_bytes()
    manifest |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} | changes
    (state.parent / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("packed", [False, True], ids=["bare", "archive"])
@pytest.mark.parametrize("gadget", GADGETS)
def test_no_pickle_in_a_checkpoint_is_called(
    gadget: str, packed: bool, run: Path, marker: Path, refused: Refused
) -> None:
    content = GADGETS[gadget](marker)
    if not packed:
        pickle.loads(content)
        assert marker.exists(), "it would work"
        marker.unlink()
    for state in run.glob("checkpoints/*/state.pt"):
        state.write_bytes(_in_an_archive(content) if packed else content)
        sign(state)
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"status": "interrupted"}))
    for words in ("sample", "evaluate"):
        assert "damaged" in refused(words, "run")
    assert main(["train", *TINY, "run_dir=run"]) == 2, "it would have gone on from there"


def test_a_program_of_torchscript_is_no_checkpoint(run: Path, refused: Refused) -> None:
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    for state in run.glob("checkpoints/*/state.pt"):
        module.save(str(state))
        sign(state)
    refused("sample", "run")


def test_a_state_that_does_not_match_its_manifest_is_not_loaded(run: Path, refused: Refused) -> None:
    for state in run.glob("checkpoints/*/state.pt"):
        content = bytearray(state.read_bytes())
        content[len(content) // 2] ^= 1
        state.write_bytes(content)
    assert "damaged" in refused("sample", "run")


@pytest.mark.parametrize("schema", [99, -1, "2", None, [2]])
def test_a_checkpoint_of_an_unknown_schema_is_not_loaded(schema: object, run: Path, refused: Refused) -> None:
    for state in run.glob("checkpoints/*/state.pt"):
        sign(state, schema=schema)
    assert refused("sample", "run")


# -- config.yaml -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_of_python_makes_no_object(tag: str, run: Path, marker: Path, refused: Refused) -> None:
    with (run / "config.yaml").open("a") as file:
        file.write(f'evil: {tag} ["touch {marker}"]\n')
    refused("sample", "run")
    refused("evaluate", "run")


@pytest.mark.parametrize("where", TARGETS)
def test_no_target_is_called(where: str, run: Path, marker: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = TARGETS[where].format(marker=marker)
    name = text.partition(":")[0]
    kept, keeps = [], True
    for line in (run / "config.yaml").read_text().splitlines():  # the section that is replaced goes
        keeps = line.partition(":")[0] != name if not line.startswith((" ", "-")) else keeps
        kept += [line] if keeps else []
    (run / "config.yaml").write_text("\n".join([*kept, text, ""]))
    for words in (["sample", "run"], ["evaluate", "run"]):
        assert main(words) in (0, 2), "0: the command has no need of that section"
        assert not marker.exists()
    assert "Traceback" not in capfd.readouterr().err
