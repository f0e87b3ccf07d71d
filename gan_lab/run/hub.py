"""The Hugging Face Hub: one file down, one folder up. A shared run is safetensors and text; nothing is unpickled."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gan_lab.datasets.cache import cache_folder
from gan_lab.datasets.trusted_files import make_private
from gan_lab.run.saved import MODEL, NoRun

SCHEME = "hf://"
NAME = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}", re.ASCII)
REVISION = re.compile(r"\w[\w./-]{0,95}", re.ASCII)


def check_name(name: str) -> str:
    """The name of a repository. Raises ValueError where it is none."""
    if not NAME.fullmatch(name) or ".." in name:
        raise ValueError(f"{name}: give OWNER/NAME, of letters, digits, -, _ and .")
    return name


def check_installed(what: str) -> None:
    """Raise ValueError, which names `what` wants it, without huggingface_hub."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ValueError(f'{what} needs huggingface_hub: pip install "hydra-gan-lab[hub]"')


def downloaded(address: str) -> Path:
    """The exported run at hf://OWNER/NAME or hf://OWNER/NAME@REVISION, in the cache folder.

    Raises NoRun where there is none, and ValueError where the Hub does not answer.
    """
    name, _, revision = address.removeprefix(SCHEME).partition("@")
    check_name(name)
    if revision and (not REVISION.fullmatch(revision) or ".." in revision):
        raise ValueError(f"{address}: {revision} is no branch, tag or commit")
    check_installed(address)
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    make_private(cache_folder())
    folder = cache_folder() / "hub" / name.replace("/", "--") / (revision or "main").replace("/", "--")
    with _in_a_line(address):
        try:
            file = huggingface_hub.hf_hub_download(
                name, MODEL, revision=revision or None, local_dir=folder, endpoint=_endpoint()
            )
        except RevisionNotFoundError as error:
            raise NoRun(f"{address}: there is no revision {revision}") from error
        except RepositoryNotFoundError as error:
            raise NoRun(f"{address}: there is no such repository, or your token does not show it") from error
        except EntryNotFoundError as error:
            raise NoRun(f"{address}: there is no {MODEL}, which gan-lab push writes") from error
    return Path(file)


def upload(folder: Path, name: str, *, public: bool, update: bool) -> str:
    """Make a repository and put the folder's files into it, in one commit. Returns its address.

    Raises ValueError without a token, where the name is taken, unless `update`, and where the Hub does not take it.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    hub = huggingface_hub.HfApi(endpoint=_endpoint(), token=check_token())
    with _in_a_line(name):
        try:
            hub.create_repo(name, private=not public, exist_ok=update)
        except HfHubHTTPError as error:
            if error.response is not None and error.response.status_code == 409:
                raise ValueError(f"{name} is taken; give another name, or --update to replace what is there") from error
            raise
        files = [huggingface_hub.CommitOperationAdd(file.name, file) for file in sorted(folder.iterdir())]
        hub.create_commit(name, files, commit_message="A run of gan_lab")  # upload_folder may make several commits
    return f"{hub.endpoint}/{name}"


def check_token() -> str:
    """The user's token. Raises ValueError where there is none."""
    import huggingface_hub

    token = huggingface_hub.get_token()
    if not token:
        raise ValueError("there is no token of the Hugging Face Hub: hf auth login, or set HF_TOKEN; or --out FOLDER")
    return token


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None  # read now: the package reads it when it is imported


@contextmanager
def _in_a_line(what: str) -> Iterator[None]:
    """A context in which an error of the Hub, or on the way to it, becomes one line."""
    try:
        yield
    except ValueError:
        raise
    except Exception as error:  # of httpx, of the Hub and of its transfer, which have no common base
        lines = [line for line in str(error).splitlines() if line.strip()]
        why = " ".join(lines[0].split())[:200] if lines else type(error).__name__
        raise ValueError(f"{what}: the Hugging Face Hub did not answer as it should: {why}") from error
