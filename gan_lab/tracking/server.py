"""Which server W&B sends runs to, and whether it can: decided before W&B starts, which cannot fall back."""

from __future__ import annotations

import configparser
import contextlib
import functools
import http.client
import netrc
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import ParseResult, urlparse

from gan_lab.core.files import BadFile, read_text

PROBE_SECONDS = 4.0
OLDER_HOST = "api.wandb.ai"  # the default server's name for W&B before 0.31; a key for it serves for both
LOGIN = "run `wandb login`, or set WANDB_API_KEY"
HARMLESS = {"project", "entity", "mode", "disabled", "console", "run_group", "run_tags"}  # in ./wandb/settings


def decide_mode(mode: str) -> tuple[str, str | None]:
    """(online | offline | disabled, why not online). Decided before W&B starts, which cannot fall back.

    Raises ValueError for `online` without a key.
    """
    if mode == "auto" and os.environ.get("WANDB_MODE") in ("online", "offline", "disabled"):
        mode = os.environ["WANDB_MODE"]
    if mode in ("offline", "disabled"):
        return mode, None
    if why := _taken_over():
        if mode == "online":
            raise ValueError(f"tracking.wandb.mode=online: {why}")
        return "offline", why
    if not _has_key():
        if mode == "online":
            raise ValueError(f"tracking.wandb.mode=online needs a key: {LOGIN}")
        return "offline", "no W&B key: `wandb login` makes the next run online"
    if reason := unreachable():
        return "offline", reason
    return "online", None


def no_way_online() -> str | None:
    """Why the server cannot be used, with the remedy; None where it can."""
    return _taken_over() or (unreachable() if _has_key() else f"no W&B key: {LOGIN}")


def _taken_over() -> str | None:
    """Why the settings of W&B in the current folder are not trusted, with the remedy; None where they are harmless.

    W&B reads ./wandb/settings by itself. One that came with somebody's files can send runs and the key elsewhere.
    """
    file = Path(os.environ.get("WANDB_DIR") or ".", "wandb", "settings")
    if not os.path.lexists(file):
        return None
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(file, largest=1 << 16))
    except (OSError, BadFile, configparser.Error):
        return f"{file} cannot be read; remove it"
    known = {name for section in (parser.default_section, *parser) for name in parser[section]}
    if strange := sorted(known - HARMLESS):
        return f"{file} sets {strange[0]}, which can send your key elsewhere; remove it, or say it in the environment"
    return None


def _server() -> ParseResult:
    """The server of this process's environment, of `wandb login --host`, or the installed W&B's default."""
    address = os.environ.get("WANDB_BASE_URL")
    return urlparse(address or _default_server())


@functools.cache
def _default_server() -> str:
    import wandb

    settings = wandb.Settings()
    with contextlib.suppress(Exception):  # base_url does not include the settings file, and setup() starts a process
        folder = Path(os.environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config" / "wandb")
        settings.settings_system = str(folder / "settings")
        settings.update_from_system_settings()
    return str(settings.base_url)


def unreachable() -> str | None:
    """Why the server does not answer; None where it answers.

    The request goes over HTTP and through the environment's proxy, as W&B's do. A TCP connection is not enough: it may
    open although a proxy drops all traffic.
    """
    server = _server()
    try:
        request = urllib.request.Request(server.geturl(), method="HEAD")
        urllib.request.build_opener().open(request, timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return None  # any status is an answer
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: WANDB_BASE_URL is no address
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return None  # the server answers; W&B has its own certificates
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
        # With an explicit path, netrc accepts a file that others can read, as W&B does.
        known = netrc.netrc(os.environ.get("NETRC") or Path.home() / ".netrc")
        return any(known.authenticators(host) for host in hosts)
    except (OSError, netrc.NetrcParseError):
        return False
