"""Weights & Biases: one run a run directory, online where that can work, offline elsewhere, never in the way."""

from __future__ import annotations

import netrc
import os
import secrets
import socket
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from gan_lab.config import Wandb

PROBE_SECONDS = 2.0


def decide_mode(mode: str) -> tuple[str, str | None]:
    """(online | offline | disabled, why not online). Decided before W&B starts, which cannot fall back.

    Raises ValueError for `online` without a key.
    """
    if mode == "auto" and os.environ.get("WANDB_MODE") in ("online", "offline", "disabled"):
        mode = os.environ["WANDB_MODE"]
    if mode in ("offline", "disabled"):
        return mode, None
    server = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    if not _has_key(server.hostname or ""):
        if mode == "online":
            raise ValueError("tracking.wandb.mode=online needs a key: run `wandb login`, or set WANDB_API_KEY")
        return "offline", "no W&B key: `wandb login` makes the next run online"
    try:
        port = server.port or (80 if server.scheme == "http" else 443)
        socket.create_connection((server.hostname or "", port), timeout=PROBE_SECONDS).close()
    except (OSError, ValueError) as error:  # ValueError: WANDB_BASE_URL is no address
        return "offline", f"{server.hostname} cannot be reached ({error})"
    return "online", None


def _has_key(host: str) -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class WandbTracker:
    """Sends records against images seen. Whatever W&B raises becomes one warning, and the run goes on without it."""

    def __init__(
        self,
        settings: Wandb,
        mode: str,
        folder: Path,
        config: Mapping[str, Any],
        *,
        name: str,
        group: str | None,
        job_type: str,
        tags: Sequence[str],
        best: Mapping[str, str],
    ) -> None:
        self.run: Any = None
        self.mode, self.folder = mode, folder
        self._guard(lambda: self._start(settings, config, name, group, job_type, tags, best))

    def _start(
        self,
        settings: Wandb,
        config: Mapping[str, Any],
        name: str,
        group: str | None,
        job_type: str,
        tags: Sequence[str],
        best: Mapping[str, str],
    ) -> None:
        import wandb

        run = wandb.init(
            project=settings.project,
            entity=settings.entity,
            group=group,
            job_type=job_type,
            tags=list(tags),
            name=name,
            id=_stable_id(self.folder / "wandb"),
            resume="allow" if self.mode == "online" else None,
            mode=self.mode,  # type: ignore[arg-type]
            dir=str(self.folder.absolute()),  # its service keeps the directory where the first run began
            config=dict(config),
            reinit="create_new",  # or the jobs of a sweep would share one run
            settings=wandb.Settings(
                console="off",
                silent=True,
                init_timeout=30,
                finish_timeout=60,
                finish_timeout_raises=False,
                x_transaction_log_flush_interval=5,  # a killed run's log holds all but its last seconds
            ),
        )
        run.define_metric("images")
        run.define_metric("*", step_metric="images")
        for metric, direction in best.items():  # the table shows the best value, not the last
            run.define_metric(metric, step_metric="images", summary=direction)
        self.run = run

    @property
    def link(self) -> str | None:
        """The run's page, or its offline folder."""
        if self.run is None or self.mode == "online":
            return self.run and str(self.run.url)
        return str(self.folder / "wandb" / Path(self.run.dir).parent.name)

    def record(self, record: Mapping[str, Any]) -> None:
        self._guard(lambda: self.run and self.run.log(dict(record)))

    def picture(self, path: Path, images: int, name: str = "samples") -> None:
        def send() -> None:
            import wandb

            self.run.log({name: wandb.Image(str(path), caption=f"{images:,} images"), "images": images})

        if self.run:
            self._guard(send)

    def warn(self, warning: Mapping[str, Any]) -> None:
        def send() -> None:
            level = "ERROR" if warning["level"] == "critical" else "WARN"
            text = f"{warning['last']:,} images: {warning['found']}: {warning['advice']}"
            self.run.alert(title=warning["title"], text=text, level=level)

        if self.run:
            self._guard(send)

    def finish(self, summary: Mapping[str, Any]) -> None:
        def send() -> None:
            for name in ("status", "error", "images_per_second"):
                self.run.summary[name] = summary.get(name)
            for name, score in summary.get("metrics", {}).items():
                self.run.summary[f"final/{name}"] = score["value"]
            self.run.summary["health"] = [warning["title"] for warning in summary.get("health") or ()]
            self.run.summary["provenance"] = dict(summary.get("metrics", {}))
            self.run.finish(exit_code=0 if summary["status"] == "finished" else 1)

        if self.run:
            self._guard(send)
            self.run = None

    def _guard(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # a service's trouble is not the run's
            self.run = None
            warnings.warn(f"W&B stopped ({type(error).__name__}: {error}); metrics.jsonl has everything", stacklevel=2)


def _stable_id(folder: Path) -> str:
    """The id of this run directory's W&B run, made once."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "run_id"
    if not file.exists():
        file.write_text(secrets.token_hex(4))
    return file.read_text().strip()
