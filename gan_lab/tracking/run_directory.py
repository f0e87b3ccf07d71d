"""A run's directory: its config, records and summary, in files that a program or a person can read."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gan_lab.config.redaction import redacted
from gan_lab.core.files import BadFile, is_count, oddity, parse_json, read_text, write_atomically
from gan_lab.tracking.summary import is_number, read_summary

# Files that a run writes. A folder with any other file belongs to somebody else, and no run starts in it.
QUARANTINE = "quarantine.json"
OURS = {
    ".hydra",
    ".lock",
    "config.yaml",
    "summary.json",
    "metrics.jsonl",
    "checkpoints",
    "samples",
    "wandb",
    QUARANTINE,
}
FOLDERS = {".hydra", "checkpoints", "samples", "wandb"}
# Temporary files of a process that was killed while writing; pictures are named by their number of images.
HALF_WRITTEN = re.compile(r"\.((config\.yaml|summary\.json|metrics\.jsonl|quarantine\.json)-\d+|\w+-\d+\.(png|txt))")
LARGEST_METRICS = 512 << 20  # bytes: some million records
SPEED = "performance/images_per_second"
SELECTION = "selection/"  # prefix of the names of scores that may have chosen a checkpoint


def refuse_odd(folder: Path) -> None:
    """Raise ValueError where a pipe, a folder or a link stands in the place of a file that a run or Hydra writes."""
    hydras = folder / ".hydra"
    inside = [(path, path.name in FOLDERS) for path in folder.iterdir()]
    inside += [(path, False) for path in (hydras.iterdir() if hydras.is_dir() else ())]
    for path, is_folder in inside:
        if wrong := oddity(path, folder=is_folder):
            raise ValueError(f"{wrong}; move it away")


class RunDirectory:
    """`config.yaml`, `metrics.jsonl`, `summary.json`, `samples/` and `checkpoints/` under one path."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.metrics_file, self.summary_file = self.path / "metrics.jsonl", self.path / "summary.json"
        self.checkpoints, self.samples = self.path / "checkpoints", self.path / "samples"
        self.damage: str | None = None  # why the summary cannot be used
        try:
            self.summary = read_summary(self.summary_file)
        except BadFile as error:
            self.summary, self.damage = {}, str(error)
        self.speeds: list[float] = []
        self.pending: list[dict[str, Any]] = []  # records that the disk has not taken yet
        self._lock = FileLock(self.path / ".lock")

    # -- before anything is written ----------------------------------------------------------------------------------

    def check(self, config_hash: str, resume: str) -> None:
        """Raise ValueError where a run with this config must not write here. Writes nothing."""
        self._check_place()
        if self.damage:
            raise ValueError(self.damage)
        if not self.summary:
            return
        if self.summary.get("config_hash") != config_hash:
            raise ValueError(
                f"run_dir={self.path} holds a run of another config ({self.path / 'config.yaml'}); "
                "give another run_dir, or repeat that run's settings to continue it"
            )
        if resume == "never":
            raise ValueError(f"run_dir={self.path} holds a run, and resume=never; give another run_dir or resume=auto")

    def _check_place(self) -> None:
        """Raise ValueError where no run may write, whatever its config: no folder, or a folder of somebody else."""
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"run_dir={self.path} is a file; give a folder")
        parent = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not parent.is_dir():
            raise ValueError(f"run_dir={self.path} lies inside {parent}, which is a file; give a folder")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise ValueError(f"run_dir={self.path} cannot be written: {parent} is read-only for this user")
        if not self.path.exists():
            return
        files = [path.name for path in self.path.iterdir()]
        if strange := sorted(name for name in files if name not in OURS and not HALF_WRITTEN.fullmatch(name)):
            names = ", ".join(strange[:3])
            raise ValueError(f"run_dir={self.path} holds files that are no run's ({names}); give another folder")
        refuse_odd(self.path)

    def lock(self) -> None:
        """Claim the directory until `release`. Raises ValueError while another process has it."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(f"run_dir={self.path} is in use: another process trains there") from None
        for remains in (*self.path.glob(".*"), *self.samples.glob(".*")):  # of a process that was killed
            if HALF_WRITTEN.fullmatch(remains.name):
                remains.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked_by_us(self) -> Iterator[None]:
        """A context in which this process holds the lock. Raises ValueError while another process has it."""
        self.lock()
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        self._lock.release()

    def locked(self) -> bool:
        """Whether a living process trains here. `running` in the summary without a lock means that it was killed.

        Where this user may not open the lock file, the summary's status is believed.
        """
        if not self._lock.is_locked and not (self.path / ".lock").exists():
            return False
        try:
            with FileLock(self.path / ".lock", timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return self.summary.get("status") == "running"

    def status(self) -> str:
        """The summary's status, but `killed` where no process trains any more, and `not started` without a summary.

        `damaged` where the summary cannot be used.
        """
        if self.damage:
            return "damaged"
        if self.locked():
            return "running"
        status = str(self.summary.get("status", "not started"))
        return "killed" if status == "running" else status

    # -- while it runs -----------------------------------------------------------------------------------------------

    def write_config(self, text: str) -> None:
        write_atomically(self.path / "config.yaml", text)

    def write_quarantine(self, skipped: Mapping[str, str]) -> None:
        """Write a report of the data files that cannot be read, with paths and reasons; no report where all can be."""
        report = self.path / QUARANTINE
        entries = [{"path": path, "reason": why} for path, why in skipped.items()]
        if entries:
            write_atomically(report, json.dumps(entries, indent=1) + "\n")
        else:
            report.unlink(missing_ok=True)

    def cut_back(self, images: int) -> None:
        """Drop the records after the checkpoint that the run continues from, and incomplete lines."""
        if not self.metrics_file.exists() and not self.pending:
            return
        kept = [record for record in self.read_metrics() if record["images"] <= images]
        self.speeds = [record[SPEED] for record in kept if record.get(SPEED)]
        write_atomically(self.metrics_file, "".join(json.dumps(record) + "\n" for record in kept))
        self.pending = []

    def read_metrics(self) -> list[dict[str, Any]]:
        """Every complete record, including those that are not written to the disk yet.

        Raises BadFile where metrics.jsonl is no file, or is too large.
        """
        records = []
        # A crash of the machine may leave bytes that are not text. Such a line is skipped.
        text = read_text(self.metrics_file, LARGEST_METRICS, errors="replace") if self.metrics_file.exists() else ""
        for line in text.splitlines():
            try:
                record = parse_json(line, self.metrics_file)
            except BadFile:
                continue
            if isinstance(record, dict) and is_count(record.get("images")) and all(map(is_number, record.values())):
                records.append(record)
        return [*records, *self.pending]

    def sheets(self) -> dict[int, Path]:
        """The files of its samples, pictures or text, by their number of images."""
        files = [file for suffix in ("png", "txt") for file in self.samples.glob(f"*.{suffix}")]
        return {int(file.stem): file for file in files if file.stem.isdigit()}

    def recall(self, pending: Iterable[Mapping[str, Any]]) -> None:
        """Add the pending records of a checkpoint that metrics.jsonl does not have."""
        written = self.read_metrics()
        self.pending += [dict(record) for record in pending if record not in written]

    def sync(self) -> None:
        """Flush the records to the disk, so that they survive a power cut."""
        if self.metrics_file.exists():
            with self.metrics_file.open("rb") as file:
                os.fsync(file.fileno())

    def record(self, record: Mapping[str, Any]) -> None:
        """Append a record to metrics.jsonl. If that fails, it is kept for the next attempt, and OSError is raised."""
        if record.get(SPEED):
            self.speeds.append(record[SPEED])
        self.pending.append(_finite(record))
        self.write_pending()

    def write_pending(self) -> None:
        """Append the pending records, all or none. Raises OSError where they cannot be written."""
        if not self.pending:
            return
        text = "".join(json.dumps(record) + "\n" for record in self.pending).encode()
        with self.metrics_file.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                if file.write(text) != len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.metrics_file))
            except OSError:
                file.truncate(before)  # the next record would be appended to half a line
                raise
        self.pending = []

    def picture(self, path: Path, images: int, name: str = "samples") -> None: ...

    def warn(self, warning: Mapping[str, Any]) -> None: ...

    def update_summary(self, **values: Any) -> None:
        self.summary |= values if values.get("error") is None else values | {"error": redacted(values["error"])}
        speed = statistics.median(self.speeds) if self.speeds else 0.0
        self.summary["images_per_second"] = round(speed, 2)
        write_atomically(self.summary_file, json.dumps(_finite(self.summary), indent=1, default=str) + "\n")

    def finish(self, summary: Mapping[str, Any]) -> None: ...


def _finite(value: Any) -> Any:
    """The value with NaN and infinities, which JSON cannot write, replaced by None, at any depth."""
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
