"""Random damage to one file of a run directory: to its bytes, to what its text means, and to a state with its hash."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from hypothesis import strategies as st

from tests.fuzz.harness import MARKER, OUTSIDE
from tests.fuzz.odd import ODD_JSON, ODD_YAML, WHOLE_YAML

BYTES = ("flip", "cut", "insert", "empty", "delete", "zeros")
PLACES = ("folder", "fifo", "link outside", "link to nothing", "link to itself", "/dev/zero", "/dev/full", "unreadable")
STRUCTURE = ("replace", "delete key", "add key", "duplicate key")
NOTHING = "nothing"
NAN = "nan"
HERE = "@@here@@"
STATE = (
    "delete", "add", "None", "text", "list", "dict", "number", "negative", "huge", "infinite", NAN, "empty tensor",
    "other shape", "flat", "other dtype", "complex", "sparse", "vast", "self", "deep", "shorter", "renamed",
)  # fmt: skip


@dataclass(frozen=True)
class Damage:
    """One thing done to one file: `at` and `by` are shares, 0 to 1, of what there is to choose from."""

    file: str
    how: str
    at: float = 0.0
    by: float = 0.0

    def do(self, folder: Path) -> None:
        path = folder / self.file
        if self.how == NOTHING:
            return
        if self.how in PLACES:
            _place(path, self.how, folder)
        elif self.how in BYTES:
            _bytes(path, self.how, self.at, self.by)
        elif path.name == "state.pt" and self.how != "code":
            _state(path, self.how, self.at)
        elif self.how == "code":
            torch.save(_Evil(), path)
            sign(path)
        elif path.suffix == ".yaml":
            _yaml(path, self.how, self.at, self.by)
        else:
            _json(path, self.how, self.at, self.by)


def damages(files: list[str]) -> st.SearchStrategy[Damage]:
    """Damage that fits the file; a share is drawn coarsely, so that it shrinks and repeats."""
    share = st.integers(0, 999).map(lambda n: n / 1000)

    def of(file: str) -> st.SearchStrategy[Damage]:
        ways = [*BYTES, *PLACES]
        if file.endswith("state.pt"):
            ways += [*STATE * 2, "code"]
        elif file.endswith((".yaml", ".json", ".jsonl", ".log")):
            ways += [*STRUCTURE * 6, *(("whole",) * 4 if file.endswith(".yaml") else ())]
        return st.builds(Damage, st.just(file), st.sampled_from(ways), share, share)

    weighted = [file for file in files for _ in range(_weight(file))]
    return st.sampled_from(weighted).flatmap(of)


def _weight(file: str) -> int:
    return 1 if file.startswith("samples") or ".hydra" in file else 6


def pick(choices: Any, share: float) -> Any:
    return choices[int(share * len(choices))]


# -- bytes and places --------------------------------------------------------------------------------------------------


def _bytes(path: Path, how: str, at: float, by: float) -> None:
    content = bytearray(path.read_bytes())
    i = int(at * len(content))
    if how == "delete":
        path.unlink()
        return
    if how == "flip" and content:
        content[i] ^= 1 << int(by * 8)
    elif how == "insert":
        content[i:i] = pick((b"\0", b"\xff\xfe", b"\n", b"{", b'"', b"\x1b[2J", b"-", b"9" * 5000), by)
    elif how == "zeros":
        content[i : i + 64] = bytes(len(content[i : i + 64]))
    else:
        del content[i if how == "cut" else 0 :]
    path.write_bytes(content)


def _place(path: Path, how: str, run: Path) -> None:
    path.unlink()
    if how == "folder":
        path.mkdir()
        (path / "inside").write_text("x")
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "unreadable":
        path.write_text("x")
        path.chmod(0)
    else:
        outside = next(parent / OUTSIDE for parent in run.parents if (parent / OUTSIDE).is_dir())
        targets = {"link outside": str(outside / "treasure"), "link to nothing": "nothing", "link to itself": path.name}
        path.symlink_to(targets.get(how, how))


# -- text --------------------------------------------------------------------------------------------------------------


def _nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything inside, outermost first."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
    for key in keys:
        yield from _nodes(value[key])


def _damaged(content: Any, how: str, at: float, dump: Callable[[Any], str], odd: str) -> str:
    """The text of the content with one node replaced, deleted, added or doubled."""
    holder = [content]
    container, key = pick(list(_nodes(holder)), at)
    if how == "delete key" and container is not holder:
        del container[key]
    elif how in ("add key", "duplicate key") and isinstance(container, dict):
        container["new" if how == "add key" else f"{key}{HERE}"] = HERE
    else:
        container[key] = HERE
    text = dump(holder[0])
    if how == "duplicate key":
        text = text.replace(f"{key}{HERE}", str(key))
    return text.replace(json.dumps(HERE), odd).replace(f"'{HERE}'", odd).replace(HERE, odd)


def _json(path: Path, how: str, at: float, by: float) -> None:
    odd = pick(ODD_JSON, by)
    text = path.read_text()
    if path.suffix == ".json":
        path.write_text(_damaged(json.loads(text), how, at, json.dumps, odd))
        return
    lines = text.splitlines()
    if not lines:
        return
    i = int(at * len(lines))
    lines[i] = _damaged(json.loads(lines[i]), how, at * len(lines) % 1, json.dumps, odd)
    path.write_text("\n".join(lines) + "\n")


def _yaml(path: Path, how: str, at: float, by: float) -> None:
    if how == "whole":
        path.write_text(pick(WHOLE_YAML, by))
    else:
        content = yaml.safe_load(path.read_text())
        path.write_text(_damaged(content, how, at, yaml.safe_dump, pick(ODD_YAML, by)))


# -- state -------------------------------------------------------------------------------------------------------------


class _Evil:
    def __reduce__(self) -> Any:
        return os.system, (f"touch {MARKER}",)


def sign(path: Path) -> None:
    """Make the manifest right: a hash proves that a file is whole, not that it is good."""
    file = path.with_name("manifest.json")
    manifest = json.loads(file.read_text())
    content = path.read_bytes()
    manifest |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    file.write_text(json.dumps(manifest))


def _state(path: Path, how: str, at: float) -> None:
    state = torch.load(path, map_location="cpu", weights_only=True)
    nodes = list(_nodes(state))
    if how in TENSORS:
        nodes = [(container, key) for container, key in nodes if isinstance(container[key], torch.Tensor)]
    if how == NAN:
        nodes = [(container, key) for container, key in nodes if container[key].is_floating_point()]
    container, key = pick(nodes, at)
    if how == "delete":
        del container[key]
    elif how == "add" and isinstance(container, dict):
        container["new"] = 1
    elif how == "renamed" and isinstance(container, dict):
        container[f"{key}\x1b[2J"] = container.pop(key)
    else:
        container[key] = _replacement(how, container[key])
    torch.save(state, path)
    sign(path)


TENSORS: dict[str, Callable[[torch.Tensor], Any]] = {
    NAN: lambda t: torch.full_like(t, torch.nan),
    "other shape": lambda t: torch.zeros(*t.shape, 2),
    "flat": lambda t: t.flatten()[:1],
    "other dtype": lambda t: t.to(torch.int8 if t.is_floating_point() else torch.float64),
    "complex": lambda t: t.to(torch.complex64),
    "sparse": lambda t: t.reshape(-1).to_sparse(),
    "vast": lambda t: torch.zeros(1, dtype=t.dtype).expand(1 << 40),  # a page of memory on the disk
}
PLAIN: dict[str, Any] = {
    "None": None, "text": "a\x1b[2J", "list": [1], "dict": {"a": {}}, "number": 1.5, "negative": -1, "huge": 10**30,
    "infinite": float("inf"), "empty tensor": torch.zeros(0),
}  # fmt: skip


def _replacement(how: str, value: Any) -> Any:
    if how in TENSORS:
        return TENSORS[how](value)
    if how == "deep":
        for _ in range(500):  # more than pickle writes
            value = [value]
    elif how == "self":
        value = [value]
        value.append(value)
    elif how == "shorter" and hasattr(value, "__len__"):
        value = value[:-1] if isinstance(value, (list, str)) else type(value)() if isinstance(value, dict) else value
    else:
        value = PLAIN.get(how, value)
    return value


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, symlinks=True)
    return target
