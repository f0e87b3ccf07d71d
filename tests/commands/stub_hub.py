"""A stand-in for the Hugging Face Hub on this machine's loopback, which keeps what it is sent.

It answers the requests of huggingface_hub 2.4 without Xet, its newer transfer. The real site was not tried.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_" + "canary" * 6


class StubHub:
    """Repositories in memory: name -> {"private": bool, "files": {path: bytes}}."""

    def __init__(self, *, broken: bool = False) -> None:
        self.repositories: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, token
        self.uploaded: dict[str, bytes] = {}  # by SHA-256
        self.broken = broken  # commits fail
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"hub": self}))
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    hub: StubHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, content: Any, code: int = 200, **headers: str) -> None:
        packed = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(packed)

    def _note(self) -> str | None:
        token = self.headers.get("Authorization")
        self.hub.requests.append((self.command, self.path, token))
        return token

    def do_POST(self) -> None:
        token, body = self._note(), self._body()
        path = self.path.partition("?")[0]
        if path.endswith("/info/lfs/objects/batch"):
            return self._lfs(json.loads(body))
        if token != f"Bearer {TOKEN}":
            return self._answer({"error": "Invalid credentials"}, 401)
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        name = "/".join(path.split("/")[3:5])
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            return self._answer({"files": [
                {"path": file["path"], "shouldIgnore": False,
                 "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular"}
                for file in files
            ]})  # fmt: skip
        if "/commit/" in path:
            return self._commit(name, body)
        return self._answer({"error": f"unknown {path}"}, 404)

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}" if wanted.get("organization") else wanted["name"]
        if name in self.hub.repositories:
            return self._answer(
                {"error": "You already created this model repo", "url": f"{self.hub.address}/{name}"}, 409
            )
        private = wanted.get("private", wanted.get("visibility") == "private")
        self.hub.repositories[name] = {"private": private, "files": {}}
        return self._answer({"url": f"{self.hub.address}/{name}", "name": name})

    def _lfs(self, wanted: dict[str, Any]) -> None:
        self._answer({"transfer": "basic", "objects": [
            {"oid": file["oid"], "size": file["size"],
             "actions": {"upload": {"href": f"{self.hub.address}/upload/{file['oid']}", "header": {}}}}
            for file in wanted["objects"]
        ]})  # fmt: skip

    def do_PUT(self) -> None:
        self._note()
        body = self._body()
        self.hub.uploaded[hashlib.sha256(body).hexdigest()] = body
        self._answer({})

    def _commit(self, name: str, body: bytes) -> None:
        if self.hub.broken:
            return self._answer({"error": "Internal Error"}, 500)
        files = self.hub.repositories[name]["files"]
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "lfsFile":
                files[entry["value"]["path"]] = self.hub.uploaded[entry["value"]["oid"]]
        return self._answer(
            {"success": True, "commitOid": "c" * 40, "commitUrl": f"{self.hub.address}/{name}/commit/ccc"}
        )

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def _get(self) -> None:
        self._note()
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            name = "/".join(parts[2:4])
            if name not in self.hub.repositories:
                return self._answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
            return self._answer({"id": name, "sha": "c" * 40, "siblings": [], "private": True, "tags": [],
                                 "xetEnabled": False})  # fmt: skip
        if len(parts) >= 5 and parts[2] == "resolve":
            name, revision, file = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
            if name not in self.hub.repositories:
                return self._answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
            if revision not in ("main", "c" * 40):
                return self._answer({"error": "no revision"}, 404, X_Error_Code="RevisionNotFound")
            content = self.hub.repositories[name]["files"].get(file)
            if content is None:
                return self._answer({"error": "no entry"}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit="c" * 40)
            tag = hashlib.sha256(content).hexdigest()
            return self._answer(content, 200, ETag=f'"{tag}"', X_Repo_Commit="c" * 40, X_Linked_Size=str(len(content)))
        return self._answer({"error": f"unknown {self.path}"}, 404)
