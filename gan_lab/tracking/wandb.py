"""Weights & Biases: one W&B run for each run directory, online where that works, else offline. It never fails a run."""

from __future__ import annotations

import contextlib
import functools
import html
import importlib
import os
import re
import secrets
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_lab.config.identity import flat
from gan_lab.config.redaction import redacted
from gan_lab.config.sections import Wandb
from gan_lab.core.files import BadFile, read_text, write_atomically
from gan_lab.tracking.packages import requirements
from gan_lab.tracking.run_directory import SELECTION, RunDirectory
from gan_lab.tracking.server import unreachable

FINISH_SECONDS = 60.0  # what is not sent by then stays on disk for `wandb sync`
GRACE_SECONDS = 10.0  # added to it, because W&B applies the same limit itself
TAG_LENGTH = 64  # W&B refuses longer ones
TABLE_ROWS = 50  # a run may have thousands of pictures
NO_REMOTE = "none"  # the git remote is not sent: its address may contain a token, and the commit is enough


class WandbTracker:
    """Sends records against images seen. An exception of W&B becomes one warning, and the run goes on without W&B.

    `config` is nested, and is sent flat. `best` maps scores that have a direction to min or max. `score` is the one
    that chooses the best checkpoint, or None.
    """

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
        score: str | None = None,
    ) -> None:
        self.run: Any = None
        self.mode, self.folder, self.score = mode, folder, score
        self.checkpoints = settings.checkpoints
        self._uploaded: int | None = None  # images of the newest checkpoint that was sent
        self._warned_unreachable = False  # warn only once that the server does not answer
        self._data = _DataFolder(folder / "wandb" / "data")
        words = redacted({"name": name, "group": group, "tags": list(dict.fromkeys(tags))})
        words["tags"] = [tag[:TAG_LENGTH] for tag in words["tags"]]  # after redaction: it does not find half a secret
        self._guard(lambda: self._start(settings, columns(config), words | {"job_type": job_type}, best))

    def _start(
        self, settings: Wandb, config: Mapping[str, Any], words: Mapping[str, Any], best: Mapping[str, str]
    ) -> None:
        import wandb

        identity = {"project": settings.project, "entity": settings.entity, "id": _stable_id(self.folder / "wandb")}
        if os.environ.get("WANDB_SWEEP_ID"):  # W&B's own sweep agent sets all three by environment variables
            identity = {}
        self._data.enter()
        start = functools.partial(
            wandb.init,
            **identity,  # type: ignore[arg-type]
            **words,
            dir=str(self.folder.absolute()),  # absolute: W&B's service keeps the working directory of the first run
            config=dict(config),
            reinit="create_new",  # or the jobs of a sweep would share one run
            settings=wandb.Settings(
                console="off",
                silent=True,
                init_timeout=30,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=False,
                x_transaction_log_flush_interval=5,  # a killed run's log holds all but its last seconds
                disable_code=True,
                save_code=False,
                git_remote=NO_REMOTE,
                x_save_requirements=False,  # see `requirements`
                x_disable_meta=redacted(sys.argv) != sys.argv,  # the metadata contain the command line
            ),
        )
        run: Any = None
        if self.mode == "online":
            try:
                run = start(mode="online", resume="allow")
            except Exception as error:  # the server answered the probe, but then refused, was too slow, or went away
                reason = str(error).partition("\n")[0]
                warnings.warn(f"W&B is offline: {type(error).__name__}: {reason}", stacklevel=2)
                self.mode = "offline"
                wandb.teardown()  # W&B's service holds the run's id until it stops
        if run is None:
            run = start(mode="disabled" if self.mode == "disabled" else "offline")
        with contextlib.suppress(OSError):
            Path(run.dir, "requirements.txt").write_text(requirements())
            run.save(str(Path(run.dir, "requirements.txt")), base_path=run.dir, policy="now")
        run.define_metric("images")
        run.define_metric("*", step_metric="images")
        for name in ("step", "seconds"):  # counters, without a chart
            run.define_metric(name, step_metric="images", hidden=True)
        run.define_metric("performance/*", step_metric="images", summary="mean")
        for metric, direction in best.items():  # the table shows the best value, not the last
            run.define_metric(metric, step_metric="images", summary=direction)
        with contextlib.suppress(ImportError):
            importlib.import_module("pandas")  # else W&B imports it at the first picture, during training
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

            self.run.log({name: _media(wandb, path, images), "images": images})

        if self.run:
            self._guard(send)

    def warn(self, warning: Mapping[str, Any]) -> None:
        def send() -> None:
            level = "ERROR" if warning["level"] == "critical" else "WARN"
            text = f"{warning['last']:,} images: {warning['found']}: {warning['advice']}"
            self.run.alert(title=warning["title"], text=text, level=level)

        if self.run:
            self._guard(send)

    def checkpoint(self, path: Path, images: int, *, best: bool, metadata: Mapping[str, Any]) -> None:
        """Upload a checkpoint's directory with the alias `latest`, and `best` for the best one. Each is sent once."""

        def send() -> None:
            import wandb

            artifact = wandb.Artifact(f"checkpoint-{self.run.id}", "model", metadata={"images": images, **metadata})
            # A copy, since older checkpoints are removed here before a slow upload ends.
            for file in sorted(path.iterdir()):
                artifact.add_file(str(file), policy="mutable", skip_cache=True)
            self.run.log_artifact(artifact, aliases=["latest", *(["best"] if best else [])])
            self._uploaded = images

        if self.run and self.checkpoints and self._uploaded != images and self._answers():
            self._guard(send)

    def finish(self, summary: Mapping[str, Any]) -> None:
        def send() -> None:
            if self._answers():
                self._send_table()
            fields = redacted({name: summary.get(name) for name in ("status", "error", "images_per_second", "best")})
            for name, value in fields.items():
                self.run.summary[name] = value
            for name, score in summary.get("metrics", {}).items():
                self.run.summary[f"final/{name}"] = score["value"]
            self.run.summary["health"] = [warning["title"] for warning in summary.get("health") or ()]
            self.run.summary["provenance"] = dict(summary.get("metrics", {}))
            self._leave(0 if summary["status"] == "finished" else 1)

        if self.run:
            self._guard(send)
            self.run = None
        self._data.leave()

    def _leave(self, exit_code: int) -> None:
        """Finish the W&B run in a thread with a time limit: W&B's own limit did not hold when the server went away.

        Raises TimeoutError, and any exception of W&B. What was not sent stays on the disk.
        """
        run, errors = self.run, []

        def finish() -> None:
            try:
                run.finish(exit_code=exit_code)
            except Exception as error:
                errors.append(error)

        finishing = threading.Thread(target=finish, daemon=True)
        finishing.start()
        finishing.join(FINISH_SECONDS + GRACE_SECONDS)
        if finishing.is_alive():
            raise TimeoutError(f"not all was sent in {FINISH_SECONDS + GRACE_SECONDS:.0f} s")
        if errors:
            raise errors[0]

    def _send_table(self) -> None:
        """Send the pictures of the run directory, including those from before a resume, as rows of a table."""
        import wandb

        directory = RunDirectory(self.folder)
        pictures = sorted(
            (p for p in directory.samples.glob("*.*") if p.stem.isdigit() and p.suffix in (".png", ".txt")),
            key=lambda p: int(p.stem),
        )
        if not pictures:
            return
        stride = -(-len(pictures) // TABLE_ROWS)
        chosen = pictures[::-stride][::-1]  # always with the last one
        key = SELECTION + self.score if self.score else None
        scores = {r["images"]: r[key] for r in directory.read_metrics() if key and r.get(key) is not None}
        table = wandb.Table(columns=["images", "samples", *([self.score, "scored at"] if self.score else [])])
        for picture in chosen:
            images = int(picture.stem)
            # Pictures and scores may have different intervals.
            scored = max((at for at in scores if at <= images), default=None)
            row = [images, _media(wandb, picture, images)]
            table.add_data(*row, *([scores.get(scored), scored] if self.score else []))
        self.run.log({"samples_by_images": table, "images": int(chosen[-1].stem)})

    def _answers(self) -> bool:
        """Whether artifacts can be sent. W&B asks the server before each one, and retries while there is no answer."""
        reason = unreachable() if self.mode == "online" else None
        if reason and not self._warned_unreachable:
            self._warned_unreachable = True
            offline_folder = self.folder / "wandb" / Path(self.run.dir).parent.name
            # Without the option, `wandb sync` skips runs that began online.
            sync = f"wandb sync --no-skip-online {offline_folder}"
            warnings.warn(f"W&B: {reason}; `{sync}` sends the rest of this run later", stacklevel=2)
        return reason is None

    def _guard(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # a failure of the service must not fail the run
            self.run = None
            warnings.warn(f"W&B stopped ({type(error).__name__}: {error}); metrics.jsonl has everything", stacklevel=2)


def _media(wandb: Any, path: Path, images: int) -> Any:
    """A picture, or lines of text, as a W&B media object."""
    if path.suffix == ".txt":
        return wandb.Html(f"<pre>{html.escape(path.read_text(errors='replace'))}</pre>", inject=False)
    return wandb.Image(str(path), caption=f"{images:,} images")


def columns(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as flat columns for W&B's table, one for each setting (`generator.width`), without secrets.

    The keys are dotted and at the top level, because W&B's own sweep agent adds the settings that it sweeps there under
    their names on the command line. A nested config would then have two columns `generator.width`, and `generator`
    would replace the whole nested `generator`.
    W&B stores a dotted key as `{"generator.width": {"value": 64}}`. A query names it `config.generator.width.value`; a
    nested key would be `config.generator.value.width`.
    """
    flattened = {key: ", ".join(value) if isinstance(value, tuple) else value for key, value in flat(config).items()}
    cleaned: dict[str, Any] = redacted(flattened)
    return cleaned


class _DataFolder:
    """The folder where W&B keeps artifacts until they are sent: in the run directory.

    W&B records absolute paths, so `wandb sync` needs the run at the same path: for a folder that was moved, it sends
    all but the artifacts' files. W&B takes the folder from the environment only, and a process may have several runs
    one after the other, so the variable is set for each run and removed after it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.entered = path, False

    def enter(self) -> None:
        if "WANDB_DATA_DIR" not in os.environ:
            os.environ["WANDB_DATA_DIR"], self.entered = str(self.path.absolute()), True

    def leave(self) -> None:
        if self.entered:
            os.environ.pop("WANDB_DATA_DIR", None)
            self.entered = False


def _stable_id(folder: Path) -> str:
    """The id of this run directory's W&B run; it is created once and kept in a file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "run_id"
    if agents := os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_RUN_ID"):
        file.write_text(agents)
        return agents
    with contextlib.suppress(OSError, BadFile):
        if re.fullmatch(r"[\w-]{1,128}", known := read_text(file, largest=1_000).strip()):
            return known
    new = secrets.token_hex(4)
    write_atomically(file, new)
    return new
