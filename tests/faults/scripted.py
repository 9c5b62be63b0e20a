"""A worker that trains by formula and keeps a journal, in a process of its own: `main`."""

import errno
import hashlib
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import httpx

from luthier.studies.protocol import Assignment, AssignmentKind
from tests.faults.journal import Journal
from tests.support.scripted_worker import ScriptedWorker, Stale, file_ref

PATIENT_SECONDS = 120.0  # how long a worker repeats a message that is not answered
STEP_SECONDS = (0.02, 0.15)  # of the "training" between two evaluations


class Refused(Exception):
    """The service refused a message: the worker drops the work, and the journal has the sentence."""


class JournalingWorker(ScriptedWorker):
    """A scripted worker that writes down each answered message, and waits while a disk is full.

    Attributes:
        remote: send files over HTTP, as from another machine, and read none of the service's folders.
    """

    def __init__(self, url: str, name: str, journal: Journal, remote: bool, seed: int) -> None:
        super().__init__(url, name, patient_seconds=PATIENT_SECONDS)
        self.client.timeout = httpx.Timeout(10.0)
        self.remote, self._journal, self._chance = remote, journal, random.Random(seed)
        self._score, self.score = self.score, self._scored

    def _scored(self, params: dict[str, Any], step: int) -> float:
        time.sleep(self._chance.uniform(*STEP_SECONDS))
        return self._score(params, step)

    def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Repeat a request until a service answers, and write the answer down. Raises Stale, Refused."""
        sent, until = time.monotonic(), time.monotonic() + self._patient_seconds
        while True:
            try:
                response = self.client.request(method, path, **request)
                if response.status_code < 500 and response.status_code not in (408, 425, 429):
                    break
            except httpx.TransportError:
                pass
            if time.monotonic() > until:
                raise TimeoutError(f"{path} was not answered for {self._patient_seconds} s")
            time.sleep(self._chance.uniform(0.05, 0.2))
        if method == "POST":
            route = path.rpartition("/")[2]
            self._journal.note(route, sent, response.status_code, request["json"], response.content)
        if response.status_code in (404, 409):
            raise Stale(response.text)
        if not response.is_success:
            raise Refused(f"{path}: {response.text}")
        return response

    def write(self, a: Assignment, name: str, content: bytes) -> dict[str, Any]:
        """Bring a file into the store; while the disk is full, renew the lease and wait."""
        if self.remote:
            headers = {"X-Lease-Token": a.token, "X-Content-SHA256": hashlib.sha256(content).hexdigest()}
            self.send("PUT", f"/v1/worker/files/{a.id}/{name}", content=content, headers=headers)
            return file_ref(name, content)
        while True:
            try:
                return super().write(a, f"a{a.attempt}-{name}" if name != "model.tar.gz" else name, content)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            self.renew(a)
            time.sleep(0.2)

    def work(self, a: Assignment) -> None:
        """Do an assignment; an evaluation whose weights are damaged says so, as a child does."""
        self.renew(a)
        if a.kind is AssignmentKind.EVALUATE and not self._is_whole(a):
            said = {"message": "The weights are damaged: the file does not match its checksum."}
            self.finish(a, "failed", reason="damaged", problem=said)
            return
        super().work(a)

    def _is_whole(self, a: Assignment) -> bool:
        ref = a.checkpoint.best
        assert ref is not None
        try:
            return file_ref(ref.name, (Path(a.store) / ref.name).read_bytes()) == ref.model_dump()
        except FileNotFoundError:
            return False


def main(url: str, name: str, folder: Path, gpu: str | None, remote: bool, seed: int) -> None:
    """Work until killed. Output goes to `NAME.log` beside the journal."""
    log = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    worker = JournalingWorker(url, name, Journal(folder, name, gpu), remote, seed)
    worker.gpu = None if gpu is None else {"id": gpu, "total_bytes": 10**10}
    while True:
        try:
            a = worker.claim(1.0)
            if a is not None:
                worker.work(a)
        except (Stale, FileNotFoundError):  # the lease is over, and the folder may be gone with it
            continue
        except (Refused, TimeoutError) as error:
            print(json.dumps({"gave up": str(error)}), flush=True)
