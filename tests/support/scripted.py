"""A service that follows a script: it hands out given assignments, and records all messages of workers."""

import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from luthier.studies.protocol import Answer, Assignment, AssignmentKind, Claim, Decision, Outcome, Renewal, Report
from luthier.studies.spec import StudySpec
from luthier.studies.wire import FileRef

TOKEN = "the-workers-secret"
MODELS = {"claim": Claim, "report": Report, "renew": Renewal, "finish": Outcome}


def spec(**changes: Any) -> StudySpec:
    """Return the spec of every assignment, with top-level keys replaced."""
    document = {
        "name": "study",
        "task": "text-classification",
        "model": "model",
        "dataset": {"source": "rows.csv"},
        "space": {"learning_rate": 1e-3, "epochs": 100},
    }
    return StudySpec.model_validate(document | changes)


class Service:
    """A server on a free port of the loopback. `down` makes it answer 503; `close` and `open` make it refuse."""

    def __init__(self, store: Path) -> None:
        self.store, self.port = store, 0
        self.todo: list[Assignment] = []
        self.said: list[tuple[str, Any]] = []  # route, message: all that was answered with 2xx, in order
        self.files: dict[tuple[int, str], bytes] = {}
        self.down = False
        self.status: dict[str, int] = {}  # route -> an error status that it answers
        self.wrong: list[str] = []  # paths of fields that such an answer names
        self.decide: Callable[[Report | Renewal], Decision] = lambda message: Decision.CONTINUE
        self.stale: set[int] = set()  # assignments whose lease is lost
        self.lease_seconds = 30.0
        self.changed = threading.Condition()
        self.requests: list[tuple[str, str]] = []
        self.server: ThreadingHTTPServer | None = None
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        service = self

        class Handler(_Handler):
            script = service

        self.server = _Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        """Refuse connections, and cut those that are open."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server.cut()
            self.thread.join()
            self.server = None

    def assign(
        self, id: int, *, kind: AssignmentKind = AssignmentKind.TRAIN, shared: bool = False, **fields: Any
    ) -> Assignment:
        """Queue an assignment, whose folder is on a disk that the worker shares or, as far as it can see, not."""
        mark = "mark of this store"
        self.store.mkdir(exist_ok=True)
        (self.store / ".mark").write_text(mark)
        assignment = Assignment(
            id=id,
            kind=kind,
            token=f"lease-{id}-secret",
            attempt=fields.pop("attempt", 1),
            lease_seconds=self.lease_seconds,
            study="study",
            spec=spec(**fields.pop("spec", {})),
            store=str(self.store / f"a{id}"),
            store_mark=mark if shared else "mark of another store",
            number=id,
            **fields,
        )
        with self.changed:
            self.todo.append(assignment)
            self.changed.notify_all()
        return assignment

    def keep(self, id: int, name: str, content: bytes) -> FileRef:
        self.files[id, name] = content
        return FileRef(name=name, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))

    def wait(self, what: Callable[["Service"], Any], seconds: float = 15) -> Any:
        """Wait until `what` returns a true value, and return that."""
        with self.changed:
            if not self.changed.wait_for(lambda: what(self), seconds):
                raise AssertionError(f"did not happen within {seconds} s; said was {self.said[:9]}")
            return what(self)

    def outcome(self, id: int, seconds: float = 15) -> Outcome:
        def find(service: "Service") -> Outcome | None:
            return next((m for route, m in service.said if route == "finish" and m.id == id), None)

        return self.wait(find, seconds)

    def child_pid(self, id: int) -> int:
        """Wait until assignment `id` has begun, and return the process that does it, which its log names."""
        return int(self.wait(lambda service: re.search(r"pid (\d+)", service.log(id)))[1])

    def reports(self, id: int) -> list[Report]:
        return [m for route, m in self.said if route == "report" and m.id == id]

    def log(self, id: int) -> str:
        return "".join(m.log for route, m in self.said if route != "claim" and m.id == id)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *arguments: Any) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a connection that breaks off: the test has killed its worker."""

    def cut(self) -> None:
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    script: Service
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)

    def refused(self, route: str) -> bool:
        script = self.script
        with script.changed:
            script.requests.append((self.command, self.path))
            script.changed.notify_all()
        status = 503 if script.down else script.status.get(route)
        if status is None and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            status = 401
        if status is not None:
            wrong = [{"path": path, "message": "no such field"} for path in script.wrong]
            self.answer(status, json.dumps({"detail": "as the script says", "errors": wrong}).encode())
        return status is not None

    def do_POST(self) -> None:
        script, route = self.script, self.path.removeprefix("/v1/worker/")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.refused(route):
            return
        message = MODELS[route].model_validate_json(body)
        if route != "claim" and message.id in script.stale:
            self.answer(409)
            return
        with script.changed:
            if route != "claim":
                script.said.append((route, message))
                script.changed.notify_all()
        if route == "claim":
            self.claim(message)
        elif route == "finish":
            self.answer(204)
        else:
            answer = Answer(decision=script.decide(message), lease_seconds=script.lease_seconds)
            self.answer(200, answer.model_dump_json().encode())

    def claim(self, claim: Claim) -> None:
        script, deadline = self.script, time.monotonic() + claim.wait_seconds
        with script.changed:
            script.said.append(("claim", claim))
            script.changed.notify_all()
            script.changed.wait_for(lambda: script.todo or script.server is None, deadline - time.monotonic())
            assignment = script.todo.pop(0) if script.todo else None
        if assignment is None:
            self.answer(204)
        else:
            self.answer(200, assignment.model_dump_json().encode())

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.refused("files"):
            return
        id, name = self.path.removeprefix("/v1/worker/files/").split("/")
        if self.headers["X-Lease-Token"] != f"lease-{id}-secret":
            self.answer(409)
        elif hashlib.sha256(body).hexdigest() != self.headers["X-Content-SHA256"]:
            self.answer(422)
        else:
            self.script.files[int(id), name] = body
            self.answer(204)

    def do_GET(self) -> None:
        if self.refused("files"):
            return
        id, name = self.path.removeprefix("/v1/worker/files/").split("/")
        content = self.script.files.get((int(id), name))
        self.answer(404 if content is None else 200, content or b"")
