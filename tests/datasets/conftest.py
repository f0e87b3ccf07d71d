"""An empty cache and no network, for tests that ask for them."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
from pathlib import Path

import pytest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GAN_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Network:
    """What answers instead of the network: nothing but what a test puts into `pages`."""

    def __init__(self) -> None:
        self.asked: list[str] = []  # addresses
        self.pages: dict[str, bytes] = {}

    def open(self, request: urllib.request.Request, *_: object, **__: object) -> Answer:
        self.asked.append(request.full_url)
        if request.full_url not in self.pages:
            raise urllib.error.URLError("no network in tests")
        return Answer(request.full_url, self.pages[request.full_url])


class Answer(io.BytesIO):
    def __init__(self, url: str, content: bytes) -> None:
        super().__init__(content)
        self.url, self.length = url, len(content)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    fake = Network()
    monkeypatch.setattr(urllib.request, "urlopen", fake.open)
    return fake
