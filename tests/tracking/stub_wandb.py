"""A W&B server on loopback that answers what its clients ask and keeps all that they send.

It proves what is sent, in which order and under which names. It cannot prove what the real site makes of it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "lab"


@dataclass
class StubRun:
    """A run as its client told it."""

    id: str
    upserts: list[dict[str, Any]] = field(default_factory=list)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)  # by line
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None  # None: it has not finished
    finishes: int = 0

    def told(self, name: str) -> Any:
        """The newest value of one of UpsertBucket's variables."""
        return next((upsert[name] for upsert in reversed(self.upserts) if upsert.get(name) is not None), None)

    @property
    def config(self) -> dict[str, Any]:
        """By the columns' names, less what W&B keeps for itself."""
        stored = json.loads(self.told("config") or "{}")
        return {key: entry["value"] for key, entry in stored.items() if key != "_wandb"}

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [self.history[line] for line in sorted(self.history)]


@dataclass
class StubArtifact:
    """A version of an artifact: its manifest's files by name, and whether the client has completed it."""

    id: str
    input: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)
    manifest: bytes = b""
    committed: bool = False

    @property
    def aliases(self) -> list[str]:
        return [alias["alias"] for alias in self.input.get("aliases") or []]

    @property
    def name(self) -> str:
        return str(self.input["artifactCollectionName"])

    @property
    def metadata(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.input.get("metadata") or "{}")
        return content


class StubWandb:
    """The server and its record. `with StubWandb() as server:` listens until it is left; `stop()` is a crash."""

    def __init__(self) -> None:
        self.runs: dict[str, StubRun] = {}
        self.artifacts: list[StubArtifact] = []
        self.views: list[dict[str, Any]] = []  # workspaces and reports
        self.sweeps: list[dict[str, Any]] = []
        self.commands: list[dict[str, Any]] = []  # what W&B's sweep agent is told to do, each once
        self.requests: list[tuple[str, bytes]] = []  # path and body of everything, but for the client's key
        self.unknown: list[str] = []  # operations that were answered with nothing
        self.on_history: Callable[[StubWandb], None] | None = None  # called after each piece of history
        self._lock = threading.RLock()
        self._server: ThreadingHTTPServer | None = None

    # -- being a server ----------------------------------------------------------------------------------------------

    def __enter__(self) -> StubWandb:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None: ...

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with stub._lock:
                    stub.requests.append((self.path, body))
                    status, answer = stub._answer(self.path, body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = handle_any

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def stop(self) -> None:
        """Nobody listens any more: connections are refused."""
        server, self._server = self._server, None
        if server:
            server.socket.close()
            threading.Thread(target=server.shutdown, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- answers -----------------------------------------------------------------------------------------------------

    def _answer(self, path: str, body: bytes) -> tuple[int, Any]:
        if path == "/graphql":
            asked = json.loads(body)
            return 200, {"data": self._graphql(asked["query"], asked.get("variables") or {})}
        if stream := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", path):
            return 200, self._stream(self._run(stream[1]), json.loads(body))
        if upload := re.fullmatch(r"/upload/run/([^/]+)/(.+)", path):
            self._run(upload[1]).files[upload[2]] = body
        elif upload := re.fullmatch(r"/upload/(file|manifest)/(\d+)/(.+)", path):
            artifact = self.artifacts[int(upload[2])]
            if upload[1] == "manifest":
                artifact.manifest = body
            else:
                artifact.files[upload[3]] = body
        return 200, {}

    def _run(self, id: str) -> StubRun:
        return self.runs.setdefault(id, StubRun(id))

    def _stream(self, run: StubRun, told: dict[str, Any]) -> dict[str, Any]:
        files = told.get("files") or {}
        lines = files.get("wandb-history.jsonl")
        if lines:
            for number, line in enumerate(lines["content"], lines["offset"]):
                run.history[number] = json.loads(line)
        for line in (files.get("wandb-summary.json") or {"content": []})["content"]:
            run.summary |= json.loads(line)
        if told.get("complete"):
            run.exit_code = int(told["exitcode"])
            run.finishes += 1
        if lines and self.on_history:
            self.on_history(self)
        return {}

    def _graphql(self, query: str, variables: dict[str, Any]) -> Any:
        operation = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = operation[1] if operation else ""
        answer = getattr(self, f"_{_snake(name)}", None)
        if answer is None:
            self.unknown.append(name)
            return {}
        return answer(variables)

    def _viewer(self, _: Any) -> Any:
        viewer = {
            "id": "user", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}, "admin": False,
            "name": ENTITY, "email": None, "apiKeys": {"edges": []}, "deletedAt": None,
        }  # fmt: skip
        return {"viewer": viewer}

    def _server_features_query(self, _: Any) -> Any:
        return {"serverInfo": {"features": []}}

    # -- runs ----------------------------------------------------------------------------------------------------------

    def _upsert_bucket(self, variables: dict[str, Any]) -> Any:
        inserted = variables["name"] not in self.runs
        run = self._run(variables["name"])
        run.upserts.append(variables)
        project = {"id": "project", "name": run.told("project"), "entity": {"id": "entity", "name": ENTITY}}
        bucket = {
            "id": f"bucket-{run.id}", "name": run.id, "displayName": run.told("displayName"), "description": "",
            "config": run.told("config"), "sweepName": run.told("sweep"), "project": project,
            "historyLineCount": len(run.history),
        }  # fmt: skip
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _run_resume_status(self, variables: dict[str, Any]) -> Any:
        run = self.runs.get(variables["name"])
        bucket = None
        if run and run.upserts:
            tail = [json.dumps(row) for row in run.rows[-1:]]
            bucket = {
                "id": f"bucket-{run.id}", "name": run.id, "summaryMetrics": json.dumps(run.summary),
                "displayName": run.told("displayName"), "logLineCount": 0, "historyLineCount": len(run.history),
                "eventsLineCount": 0, "historyTail": json.dumps(tail), "eventsTail": "[]",
                "config": run.told("config"), "tags": run.told("tags"), "notes": "",
                "wandbConfig": json.dumps({"t": 1}),  # telemetry: without it, a run has never begun
            }  # fmt: skip
        return {"model": {"id": "project", "name": "", "entity": {"id": "entity", "name": ENTITY}, "bucket": bucket}}

    def _create_run_files(self, variables: dict[str, Any]) -> Any:
        files = [
            {"name": name, "uploadUrl": f"{self.url}/upload/run/{variables['run']}/{name}"}
            for name in variables["files"]
        ]
        return {"createRunFiles": {"runID": f"bucket-{variables['run']}", "uploadHeaders": [], "files": files}}

    def _run_stopped_status(self, _: Any) -> Any:
        return {"project": {"run": {"stopped": False}}}

    # -- artifacts -----------------------------------------------------------------------------------------------------

    def _artifact_type(self, _: Any) -> Any:
        return {"project": {"artifact": None}}  # there is none of that name yet

    def _create_artifact(self, variables: dict[str, Any]) -> Any:
        artifact = StubArtifact(str(len(self.artifacts)), variables["input"])
        self.artifacts.append(artifact)
        sequence = {"latestArtifact": None}
        return {"createArtifact": {"artifact": {"id": artifact.id, "state": "PENDING", "artifactSequence": sequence}}}

    def _create_artifact_manifest(self, variables: dict[str, Any]) -> Any:
        id = variables["artifactID"]
        file = {"id": f"manifest-{id}", "uploadUrl": f"{self.url}/upload/manifest/{id}/manifest", "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": f"manifest-{id}", "file": file}}}

    def _create_artifact_files(self, variables: dict[str, Any]) -> Any:
        edges = [
            {
                "node": {
                    "storagePath": f"{file['artifactID']}/{file['name']}",
                    "uploadUrl": f"{self.url}/upload/file/{file['artifactID']}/{file['name']}",
                    "uploadHeaders": [],
                    "uploadMultipartUrls": None,
                    "artifact": {"id": file["artifactID"]},
                }
            }
            for file in variables["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _commit_artifact(self, variables: dict[str, Any]) -> Any:
        artifact = self.artifacts[int(variables["artifactID"])]
        artifact.committed = True
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.input["digest"]}}}

    # -- workspaces and reports ----------------------------------------------------------------------------------------

    def _upsert_view(self, variables: dict[str, Any]) -> Any:
        id = f"view{len(self.views)}"
        self.views.append(variables | {"spec": json.loads(variables["spec"])})
        project = {"id": "project", "name": variables["projectName"], "entityName": variables["entityName"]}
        view = {
            "id": id, "type": variables["type"], "name": variables["name"], "displayName": variables["displayName"],
            "description": "", "project": project, "spec": variables["spec"], "updatedAt": "2026-01-01T00:00:00",
        }  # fmt: skip
        return {"upsertView": {"view": view, "inserted": True}}

    _upsert_view2 = _upsert_view

    def _project_internal_id(self, _: Any) -> Any:
        return {"project": {"id": "project", "internalId": "project"}}

    def _get_projects(self, variables: dict[str, Any]) -> Any:
        names = dict.fromkeys(run.told("project") for run in self.runs.values())
        nodes = [
            {"__typename": "Project", "id": name, "name": name, "entityName": variables["entity"], "user": None,
             "createdAt": "2026-01-01T00:00:00", "isBenchmark": False}
            for name in names
        ]  # fmt: skip
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": page, "edges": [{"node": node} for node in nodes]}}

    # -- W&B's own sweeps ----------------------------------------------------------------------------------------------

    def _upsert_sweep(self, variables: dict[str, Any]) -> Any:
        self.sweeps.append(variables)
        project = {"name": variables.get("projectName"), "entity": {"name": ENTITY}}
        return {"upsertSweep": {"sweep": {"name": "sweep0", "project": project}, "configValidationWarnings": []}}

    def _sweep_with_runs(self, variables: dict[str, Any]) -> Any:
        sweep = {
            "id": "sweep", "name": variables["sweep"], "state": "RUNNING", "config": self.sweeps[-1]["config"],
            "controller": None, "scheduler": None, "runs": {"edges": []},
        }  # fmt: skip
        return {"project": {"sweep": sweep}}

    def _create_agent(self, _: Any) -> Any:
        return {"createAgent": {"agent": {"id": "agent"}}}

    def _heartbeat(self, _: Any) -> Any:
        commands, self.commands = self.commands[:1], self.commands[1:]
        return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(commands)}}


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
