"""Serves the page and its addresses on this machine alone, one question at a time."""

from __future__ import annotations

import contextlib
import json
import socketserver
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from gan_lab.config.redaction import redacted
from gan_lab.core.files import printable
from gan_lab.display.style import STYLE
from gan_lab.playing.playground import Answer, Playground
from gan_lab.playing.uploads import LARGEST

LOOPBACK = "127.0.0.1"
HOSTS = {LOOPBACK, "localhost"}  # with any port: a tunnel may have another one at its other end
WEB = Path(__file__).parent / "web"
PAGE = {
    "/": (("play.html",), "text/html"),
    "/play.css": ((STYLE, "play.css"), "text/css"),
    "/play.js": (("play.js",), "text/javascript"),
}
WAIT = 30  # seconds for the parts of a request to come
HEADERS = {
    # Nothing from elsewhere, nothing inline, and in no other page's frame.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Refused(Exception):
    """A request that is not answered: the status, and why in a line."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class Server(ThreadingHTTPServer):
    """A server of a run's page. Port 0 is any free one. Raises OSError where the port is taken.

    A thread for each connection, since browsers open some that they do not use; `lock` is held while one is answered,
    because the networks bear only one at a time.
    """

    daemon_threads = True

    def __init__(self, playground: Playground, port: int = 0) -> None:
        self.playground, self.lock = playground, threading.Lock()
        super().__init__((LOOPBACK, port), Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's would ask a name server who we are
        self.server_name, self.server_port = LOOPBACK, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a browser that has gone away
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = WAIT
    server_version, sys_version = "gan_lab", ""

    def do_GET(self) -> None:
        self._answer(self._got)

    def do_POST(self) -> None:
        self._answer(self._posted)

    def log_message(self, *_: Any) -> None: ...

    # -- what is answered ----------------------------------------------------------------------------------------------

    def _got(self, path: str, query: dict[str, str]) -> Answer:
        if path in PAGE:
            files, kind = PAGE[path]
            return Answer("".join((WEB / file).read_text("utf-8") for file in files).encode(), f"{kind}; charset=utf-8")
        self._check_asker()
        if path not in self.server.playground.asked:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such address")
        with self.server.lock:
            return self.server.playground.asked[path](query)

    def _posted(self, path: str, query: dict[str, str]) -> Answer:
        self._check_asker()
        if path not in self.server.playground.given:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such address")
        if self.headers.get("Content-Type") != "application/octet-stream":  # of no form of another page
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "give the file itself, as application/octet-stream")
        size = self.headers.get("Content-Length", "")
        if not (size.isascii() and size.isdigit()):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "say how long the file is")
        if len(size) > 15 or int(size) > LARGEST:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a file may have {LARGEST >> 20} MiB at most")
        content = self.rfile.read(int(size))
        if len(content) < int(size):
            raise Refused(HTTPStatus.BAD_REQUEST, "the file did not come whole")
        with self.server.lock:
            return self.server.playground.given[path](query, content)

    def _check_host(self) -> None:
        """Refuse names that are not ours: a stranger's name may lead to this machine, too (DNS rebinding)."""
        hosts = self.headers.get_all("Host") or [""]
        with contextlib.suppress(ValueError):
            if len(hosts) == 1 and urlsplit(f"//{hosts[0]}").hostname in HOSTS:
                return
        raise Refused(HTTPStatus.FORBIDDEN, f"this page is at http://{LOOPBACK}, under no other name")

    def _check_asker(self) -> None:
        """Refuse what other pages ask: they could not read the answer, but it would cost its time."""
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site", "none")
        if origin not in (None, f"http://{self.headers['Host']}") or site not in ("same-origin", "none"):
            raise Refused(HTTPStatus.FORBIDDEN, "another page asks")

    # -- how it is sent ------------------------------------------------------------------------------------------------

    def _answer(self, find: Callable[[str, dict[str, str]], Answer]) -> None:
        status = HTTPStatus.OK
        try:
            self._check_host()
            address = urlsplit(self.path)
            answer = find(address.path, dict(parse_qsl(address.query, max_num_fields=20)))
        except OSError as error:  # of the connection, unless it is a file's
            status, answer = HTTPStatus.INTERNAL_SERVER_ERROR, _failure(error.strerror or str(error))
        except Refused as error:
            status, answer = error.status, _failure(str(error))
        except ValueError as error:
            status, answer = HTTPStatus.BAD_REQUEST, _failure(str(error))
        except Exception as error:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            answer = _failure(f"unexpected {type(error).__name__}: {error}")
        with contextlib.suppress(OSError):  # a browser that has gone away
            self._send(status, answer)

    def _send(self, status: HTTPStatus, answer: Answer) -> None:
        packed = answer.content if isinstance(answer.content, bytes) else json.dumps(answer.content).encode()
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.type)
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        self.wfile.write(packed)


def _failure(why: str) -> Answer:
    return Answer({"error": redacted(printable(" ".join(why.split())[:300]))})
