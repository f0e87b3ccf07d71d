"""Weights & Biases: one run a run directory, online where that can work, offline elsewhere, never in the way."""

from __future__ import annotations

import contextlib
import functools
import html
import http.client
import importlib
import netrc
import os
import secrets
import ssl
import sys
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import ParseResult, urlparse

from gan_lab.config.identity import flat
from gan_lab.config.sections import Wandb
from gan_lab.tracking.redaction import redacted
from gan_lab.tracking.run_directory import SELECTION, RunDirectory

PROBE_SECONDS = 4.0
OLDER_HOST = "api.wandb.ai"  # the default server's name for W&B before 0.31; a key for it serves for both
LOGIN = "run `wandb login`, or set WANDB_API_KEY"
FINISH_SECONDS = 60.0  # what is not sent by then stays on disk for `wandb sync`
GRACE_SECONDS = 10.0  # for W&B to keep that limit itself
TAG_LENGTH = 64  # W&B refuses longer ones
TABLE_ROWS = 50  # a run may have thousands of pictures
NO_REMOTE = "none"  # of git: its address may have a token in it, and the commit is enough


def decide_mode(mode: str) -> tuple[str, str | None]:
    """(online | offline | disabled, why not online). Decided before W&B starts, which cannot fall back.

    Raises ValueError for `online` without a key.
    """
    if mode == "auto" and os.environ.get("WANDB_MODE") in ("online", "offline", "disabled"):
        mode = os.environ["WANDB_MODE"]
    if mode in ("offline", "disabled"):
        return mode, None
    if not _has_key():
        if mode == "online":
            raise ValueError(f"tracking.wandb.mode=online needs a key: {LOGIN}")
        return "offline", "no W&B key: `wandb login` makes the next run online"
    if trouble := _unreachable():
        return "offline", trouble
    return "online", None


def no_way_online() -> str | None:
    """Why nothing can be asked of the server, with the remedy, if that is so."""
    return _unreachable() if _has_key() else f"no W&B key: {LOGIN}"


def _server() -> ParseResult:
    """The server of this process's environment, of `wandb login --host`, or the installed W&B's default."""
    address = os.environ.get("WANDB_BASE_URL")
    return urlparse(address or _default_server())


@functools.cache
def _default_server() -> str:
    import wandb

    settings = wandb.Settings()
    with contextlib.suppress(Exception):  # settings.base_url alone knows nothing of the file; setup() starts a process
        folder = Path(os.environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config" / "wandb")
        settings.settings_system = str(folder / "settings")
        settings.update_from_system_settings()
    return str(settings.base_url)


def _unreachable() -> str | None:
    """Why the server does not answer, if that is so. Asked over HTTP and through the environment's proxy, as W&B does:
    a connection alone also opens where everything is swallowed.
    """
    server = _server()
    try:
        request = urllib.request.Request(server.geturl(), method="HEAD")
        urllib.request.build_opener().open(request, timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return None  # an answer, whatever it says
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: WANDB_BASE_URL is no address
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return None  # somebody is there; W&B has certificates of its own
        return f"{server.hostname} cannot be reached ({reason})"
    return None


def _has_key() -> bool:
    """Whether there is a key for the server, in the environment or where `wandb login` writes it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = _server()
    hosts = [server.netloc, server.hostname or ""]
    if "WANDB_BASE_URL" not in os.environ:
        hosts.append(OLDER_HOST)
    try:
        # A path given by name may be readable for others, which W&B does not mind either.
        known = netrc.netrc(os.environ.get("NETRC") or Path.home() / ".netrc")
        return any(known.authenticators(host) for host in hosts)
    except (OSError, netrc.NetrcParseError):
        return False


class WandbTracker:
    """Sends records against images seen. Whatever W&B raises becomes one warning, and the run goes on without it.

    `config` is nested; it arrives there flat. `best` says which scores have a direction, min or max; `score` is the one
    of them that chooses the best checkpoint, or None.
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
        self._gone = False  # whether the server's absence has been told
        self._data = _DataFolder(folder / "wandb" / "data")
        words = redacted({"name": name, "group": group, "tags": list(dict.fromkeys(tags))})
        words["tags"] = [tag[:TAG_LENGTH] for tag in words["tags"]]  # cut last: half a secret would not be known
        self._guard(lambda: self._start(settings, columns(config), words | {"job_type": job_type}, best))

    def _start(
        self, settings: Wandb, config: Mapping[str, Any], words: Mapping[str, Any], best: Mapping[str, str]
    ) -> None:
        import wandb

        place = {"project": settings.project, "entity": settings.entity, "id": _stable_id(self.folder / "wandb")}
        if os.environ.get("WANDB_SWEEP_ID"):  # W&B's own sweep agent has decided all three, and tells by environment
            place = {}
        self._data.enter()
        start = functools.partial(
            wandb.init,
            **place,  # type: ignore[arg-type]
            **words,
            dir=str(self.folder.absolute()),  # its service keeps the directory where the first run began
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
                x_disable_meta=redacted(sys.argv) != sys.argv,  # it holds the command line
            ),
        )
        run: Any = None
        if self.mode == "online":
            try:
                run = start(mode="online", resume="allow")
            except Exception as error:  # it answered, and then could not be spoken to: refused, slow, or gone
                reason = str(error).partition("\n")[0]
                warnings.warn(f"W&B is offline: {type(error).__name__}: {reason}", stacklevel=2)
                self.mode = "offline"
                wandb.teardown()  # its service holds the run's id until it is gone
        if run is None:
            run = start(mode="disabled" if self.mode == "disabled" else "offline")
        run.define_metric("images")
        run.define_metric("*", step_metric="images")
        for name in ("step", "seconds"):  # counters: no chart of their own
            run.define_metric(name, step_metric="images", hidden=True)
        run.define_metric("performance/*", step_metric="images", summary="mean")
        for metric, direction in best.items():  # the table shows the best value, not the last
            run.define_metric(metric, step_metric="images", summary=direction)
        with contextlib.suppress(ImportError):
            importlib.import_module("pandas")  # W&B would do so at the first picture, in the middle of the training
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
        """Upload a checkpoint's directory as `latest`, and as `best` where it is that; each number of images once."""

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
            told = redacted({name: summary.get(name) for name in ("status", "error", "images_per_second", "best")})
            for name, value in told.items():
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
        """Finish in a thread of its own: beside a server that is gone, W&B's own limit was seen not to hold.

        Raises TimeoutError, and whatever W&B raises; what was not sent is on the disk.
        """
        run, troubles = self.run, []

        def finish() -> None:
            try:
                run.finish(exit_code=exit_code)
            except Exception as error:
                troubles.append(error)

        finishing = threading.Thread(target=finish, daemon=True)
        finishing.start()
        finishing.join(FINISH_SECONDS + GRACE_SECONDS)
        if finishing.is_alive():
            raise TimeoutError(f"not all was sent in {FINISH_SECONDS + GRACE_SECONDS:.0f} s")
        if troubles:
            raise troubles[0]

    def _send_table(self) -> None:
        """All pictures of the run directory, those of the time before a resumption included, as rows of a table."""
        import wandb

        directory = RunDirectory(self.folder)
        pictures = sorted(
            (p for p in directory.samples.glob("*.*") if p.stem.isdigit() and p.suffix in (".png", ".txt")),
            key=lambda p: int(p.stem),
        )
        if not pictures:
            return
        stride = -(-len(pictures) // TABLE_ROWS)
        shown = pictures[::-stride][::-1]  # the last one is among them
        key = SELECTION + self.score if self.score else None
        scores = {r["images"]: r[key] for r in directory.read_metrics() if key and r.get(key) is not None}
        table = wandb.Table(columns=["images", "samples", *([self.score, "scored at"] if self.score else [])])
        for picture in shown:
            images = int(picture.stem)
            scored = max((at for at in scores if at <= images), default=None)  # the two need not have one rhythm
            row = [images, _media(wandb, picture, images)]
            table.add_data(*row, *([scores.get(scored), scored] if self.score else []))
        self.run.log({"samples_by_images": table, "images": int(shown[-1].stem)})

    def _answers(self) -> bool:
        """Whether artifacts can be sent: W&B asks the server before each, again and again while there is no answer."""
        trouble = _unreachable() if self.mode == "online" else None
        if trouble and not self._gone:
            self._gone = True
            place = self.folder / "wandb" / Path(self.run.dir).parent.name
            sync = f"wandb sync --no-skip-online {place}"  # by itself it passes over runs that began online
            warnings.warn(f"W&B: {trouble}; `{sync}` sends the rest of this run later", stacklevel=2)
        return trouble is None

    def _guard(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # a service's trouble is not the run's
            self.run = None
            warnings.warn(f"W&B stopped ({type(error).__name__}: {error}); metrics.jsonl has everything", stacklevel=2)


def _media(wandb: Any, path: Path, images: int) -> Any:
    """A picture, or lines of text, as W&B shows it."""
    if path.suffix == ".txt":
        return wandb.Html(f"<pre>{html.escape(path.read_text(errors='replace'))}</pre>", inject=False)
    return wandb.Image(str(path), caption=f"{images:,} images")


def columns(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as W&B's table wants it: one column a setting, `generator.width`, and no secret in it.

    The keys are dotted and at the top, because W&B's own sweep agent puts what it sweeps over there under the names of
    the command line: `generator.width`, which would stand beside a nested column of the same name, and `generator`,
    which would replace a nested one with all that is in it.
    Of a key W&B stores `{"generator.width": {"value": 64}}`, which a query names `config.generator.width.value`, where
    a nested one would be `config.generator.value.width`.
    """
    told = {key: ", ".join(value) if isinstance(value, tuple) else value for key, value in flat(config).items()}
    cleaned: dict[str, Any] = redacted(told)
    return cleaned


class _DataFolder:
    """Where W&B stages artifacts until they are sent: beside the run, for a host that sees the run at the same path.

    W&B records absolute paths: `wandb sync` of a folder that was moved sends all but the artifacts' files. The place is
    told by environment alone, and a process may have several runs one after the other.
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
    """The id of this run directory's W&B run, made once."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "run_id"
    if agents := os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_RUN_ID"):
        file.write_text(agents)
    elif not file.exists():
        file.write_text(secrets.token_hex(4))
    return file.read_text().strip()
