"""A worker that attacks the service and the study beside its own, over HTTP, with a true worker token.

Each attack asserts that nothing it sends is taken for what it is not. Who looks at the other study is the test.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from luthier.service.storage.file_store import MAX_LOG_BYTES
from luthier.studies.findings import note
from luthier.studies.protocol import Assignment
from tests.support.raw_http import dialled, head
from tests.support.scripted_worker import INSPECTION, ScriptedWorker, file_ref, held

HTML = "<script>alert(1)</script>"


class Evil(ScriptedWorker):
    """A worker that sends what no worker sends; no answer to it is an error of the service."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(url, "evil", token)
        self.url = url
        self.inspection = INSPECTION.model_copy(
            update={"label_names": [HTML, "spam"], "labels": {HTML: 60, "spam": 40}, "findings": [note("note", HTML)]}
        )

    def raw(self, path: str, body: bytes | str) -> int:
        """Send bytes as a message, and return the status."""
        headers = {"Content-Type": "application/json"}
        status = self.client.post(f"/v1/worker/{path}", content=body, headers=headers).status_code
        assert status < 500, (path, body[:200])
        return status

    def say(self, path: str, **message: Any) -> int:
        """Send a message, in which what is not finite is NaN or Infinity; return the status."""
        return self.raw(path, json.dumps(message))

    def put(self, a: Assignment, name: str, content: bytes, sha256: str) -> int:
        """Send a file under a lease, and return the status."""
        lease = {"X-Lease-Token": a.token, "X-Content-SHA256": sha256}
        status = self.client.put(f"/v1/worker/files/{a.id}/{name}", content=content, headers=lease).status_code
        assert status < 500
        return status


def reported(evil: Evil, a: Assignment, step: Any, value: Any, **more: Any) -> int:
    """Report a score, and return the status."""
    return evil.say("report", **held(a), step=step, metrics={"accuracy": value}, **more)


def numbers(evil: Evil, a: Assignment, honest: Assignment) -> None:
    """Scores that are none, steps out of order, and steps again with another score."""
    for value in (float("nan"), float("inf"), -float("inf"), "0.5", True, [1], {"a": 1}):
        assert reported(evil, a, 1, value) == 422, value
    assert (
        evil.raw(
            "report", b'{"id": %d, "token": "%s", "step": 1, "metrics": {"accuracy": 1e999}}' % (a.id, a.token.encode())
        )
        == 422
    )
    for step in (0, -1, 2**31, 2**63, 10**400, 1.5):
        assert reported(evil, a, step, 0.5) == 422, step
    for step, value in ((3, 1e308), (1, 0.1), (2, -1e308), (1, 99.0), (3, 0.2), (2, 0.3)):
        assert reported(evil, a, step, value, seconds=1e308) == 200
    for name in (HTML, "a b", "x" * 65, "", "\0", "a\nb"):
        assert evil.say("report", **held(a), step=9, metrics={name: 0.5}) == 422, name


def files(evil: Evil, a: Assignment, honest: Assignment) -> None:
    """Files that do not match, that were never sent, and names that lead elsewhere."""
    right = file_ref("best-1", b"right")
    assert evil.put(a, "best-1", b"wrong", right["sha256"]) == 422
    assert reported(evil, a, 4, 0.5, best=right) == 422
    assert evil.put(a, "best-1", b"right", right["sha256"]) == 204
    for lie in ({"bytes": 4}, {"bytes": 2**50}, {"name": "best-2"}, {"name": "log.txt"}):
        assert reported(evil, a, 4, 0.5, best=right | lie) == 422, lie
    for name in ("../x", "/etc/passwd", "a/b", ".mark", "..", "", "a\0", "x" * 200, "-r", "a\\..\\b"):
        assert reported(evil, a, 4, 0.5, resume=right | {"name": name}) == 422, name
    with dialled(evil) as line:
        sha = right["sha256"]
        promised = head("PUT", f"/v1/worker/files/{a.id}/huge", Content_Length=str(10 * 10**9), X_Content_SHA256=sha,
                        X_Lease_Token=a.token, Authorization=evil.client.headers["Authorization"])  # fmt: skip
        line.sendall(promised + b"a few bytes")
    assert evil.client.get(f"/v1/worker/files/{a.id}/huge", headers={"X-Lease-Token": a.token}).status_code == 404


def logs(evil: Evil, a: Assignment, honest: Assignment) -> None:
    """Megabytes of log in each message, until the log is full, and one message that is too large."""
    assert evil.say("renew", **held(a), log="x" * 1_000_001) == 422
    assert evil.raw("renew", b" " * (8 * 2**20 + 1)) == 413
    for _ in range(20):
        assert evil.say("renew", **held(a), log=f"{HTML}\x1b[31m\0" + "x" * 999_000) == 200
    assert (Path(a.store) / "log.txt").stat().st_size <= MAX_LOG_BYTES + 2**20


def others(evil: Evil, a: Assignment, honest: Assignment) -> None:
    """The lease of another study's trial: its id with the evil token, its folder, its end."""
    for id, token in ((honest.id, a.token), (honest.id, ""), (honest.id, "x" * 64), (a.id, honest.token[:-1])):
        stolen = {"id": id, "token": token}
        assert evil.say("report", **stolen, step=1, metrics={"accuracy": 1.0}) == 409
        assert evil.say("renew", **stolen, log="mine") == 409
        assert evil.say("finish", **stolen, status="failed") == 409
        for name in ("best-1", "resume-1", "log.txt"):
            lease = {"X-Lease-Token": token}
            assert evil.client.get(f"/v1/worker/files/{id}/{name}", headers=lease).status_code in (404, 409)
        content = file_ref("best-1", b"mine")
        headers = {"X-Lease-Token": token, "X-Content-SHA256": content["sha256"]}
        assert evil.client.put(f"/v1/worker/files/{id}/best-1", content=b"mine", headers=headers).status_code in (
            409,
            422,
        )
    for id in range(1, 40):
        if id not in (a.id, honest.id):
            assert evil.say("finish", id=id, token=a.token, status="complete") == 409


def names(evil: Evil, a: Assignment, honest: Assignment) -> None:
    """Claims by names that are none, and by many that are."""
    for name in (HTML, "a\nb", "\x1b[2J", "x" * 10_000, "", " ", "../..", "\0", 7, None):
        assert evil.say("claim", worker=name) == 422, name
    assert evil.say("claim", worker="w", device=f"{HTML}\0" + "x" * 150, version=HTML) in (200, 204)
    for claim in ({"device": "x" * 201}, {"version": "x" * 51}, {"wait_seconds": 1e9}, {"gpu": {"id": HTML}}):
        assert evil.say("claim", worker="w", **claim) == 422, claim


def results(evil: Evil, a: Assignment, honest: Assignment) -> None:
    """Results of another kind of work, with a failure's text for a page."""
    inspection = INSPECTION.model_dump(mode="json") | {"label_names": [HTML], "labels": {HTML: 1}}
    evaluation = {"test": {"accuracy": 1.0}, "model": file_ref("model.tar.gz", b"nothing")}
    right = file_ref("predictions.csv.gz", b"")
    comparison = {"examples": 1, "left_out": 0, "units": 1, "independent": True, "champion": {}, "challenger": {}}
    comparison |= {"gained": 0, "lost": 0, "predictions": right | {"name": "../x"}}
    assert evil.say("finish", **held(a), status="complete", comparison=comparison) == 422
    assert evil.say("finish", **held(a), status="won") == 422
    ended = evil.say("finish", **held(a), status="failed", reason="error", inspection=inspection,
                     evaluation=evaluation, problem={"message": HTML * 1000, "path": [HTML]})  # fmt: skip
    assert ended == 204


Attack = Callable[[Evil, Assignment, Assignment], None]
ATTACKS: tuple[Attack, ...] = (numbers, files, logs, others, names, results)
"""attack(worker, its own trial, the trial of another study). The last one ends its own trial."""
