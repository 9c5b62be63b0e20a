"""The worker's HTTP client: claims, reports, renewals, outcomes and files of one service.

The worker's loop, relay and files call it. Every call repeats its request for as long as the service is away (it
refuses connections, is silent, or answers 408, 425, 429 or 5xx), and repeats nothing else. Its exceptions:

    ProtocolError
      LeaseLost      the lease is lost, or the service no longer knows the assignment: drop the work
      WorkerRefused  the service refuses this worker, or is no Luthier service: end the worker
        OtherVersion   it speaks another version of the protocol
      Rejected       the service refuses this one message: repeating it would not help
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from luthier.studies.files import HashingWriter, atomic_path
from luthier.studies.protocol import Answer, Assignment, Claim, Outcome, Renewal, Report
from luthier.studies.reach import BadWay, Way
from luthier.studies.text import one_line, without_credentials
from luthier.studies.wire import FileRef
from luthier.trials.worker.pauses import Pause

READ_SECONDS = 30.0  # a service that takes longer to answer counts as away
CHUNK_BYTES = 2**20
Parsed = TypeVar("Parsed", bound=BaseModel)


class ProtocolError(Exception):
    """The service's answer was an error. The text is a sentence for people."""


class LeaseLost(ProtocolError):
    """The lease is lost: another worker holds the assignment, or it has ended."""


class WorkerRefused(ProtocolError):
    """This worker may not work for this service."""


class OtherVersion(WorkerRefused):
    """The service speaks another version of the worker protocol."""


class Rejected(ProtocolError):
    """The service refuses this message."""


class WorkerClient:
    """HTTP calls to one service. Every call waits for as long as the service is away; cancel it to give up.

    Args:
        server: The service's URL.
        token: The service's worker token, or None.

    Raises:
        WorkerRefused: A setting of the way to the service (LUTHIER_CA, a proxy) cannot be used.
    """

    def __init__(self, server: str, token: str | None = None) -> None:
        self.server = without_credentials(server.rstrip("/"))  # for messages
        try:
            self._way = Way.to(server)
            options = self._way.options()
        except BadWay as error:
            raise WorkerRefused(str(error)) from None
        self._http = httpx.AsyncClient(
            base_url=server.rstrip("/"),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(READ_SECONDS, connect=5.0),
            **options,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def claim(self, claim: Claim) -> Assignment | None:
        """Wait up to `claim.wait_seconds` for an assignment, and return it, or None.

        Raises:
            WorkerRefused: The service refuses this worker, or the server is no Luthier service.
            OtherVersion: The two are of versions that do not understand each other.
            Rejected: The service refuses the claim.
        """
        timeout = httpx.Timeout(claim.wait_seconds + READ_SECONDS, connect=5.0)
        response = await self._post("claim", claim, timeout=timeout)
        if response.status_code == 404:
            raise WorkerRefused(f"{self.server} is not a Luthier server: it has no /v1/worker/claim. Check --server.")
        if response.status_code == 409:
            raise OtherVersion(_detail(response))
        if response.status_code == 422 and "protocol" in _paths(response):
            text = f"{self.server} runs an older version of Luthier, which does not know workers of {claim.version}"
            raise OtherVersion(f"{text}. Upgrade the service first, or install its version where the worker runs.")
        self._raise_for(response)
        return None if response.status_code == 204 else self._parse(Assignment, response)

    async def report(self, report: Report) -> Answer:
        """Send one evaluation, and return the service's decision. Raises LeaseLost, Rejected, WorkerRefused."""
        return await self._answer("report", report)

    async def renew(self, renewal: Renewal) -> Answer:
        """Renew a lease, and return the service's decision. Raises LeaseLost, Rejected, WorkerRefused."""
        return await self._answer("renew", renewal)

    async def finish(self, outcome: Outcome) -> None:
        """Send an outcome, which ends the lease. Raises LeaseLost, Rejected, WorkerRefused."""
        self._raise_for(await self._post("finish", outcome), held=True)

    async def upload(self, assignment: Assignment, ref: FileRef, path: Path) -> None:
        """Send the file `path` to the service's store, in pieces.

        Raises:
            Rejected: The file's size or checksum is not that of `ref`, or the service refuses the file.
            LeaseLost: The service has given the assignment to another worker.
        """
        if path.stat().st_size != ref.bytes:
            raise Rejected(f"{ref.name} was changed after it was reported.")
        headers = self._lease(assignment) | {"X-Content-SHA256": ref.sha256, "Content-Length": str(ref.bytes)}
        response = await self._send("PUT", self._file(assignment, ref), headers=headers, file=path)
        self._raise_for(response, held=True)

    async def download(self, assignment: Assignment, ref: FileRef, path: Path) -> None:
        """Get a file of the assignment from the service, in pieces; `path` is complete or absent.

        Raises:
            Rejected: The service lacks the file, or its size or checksum is not that of `ref`.
            LeaseLost: The service has given the assignment to another worker.
        """
        await self._download(assignment, self._file(assignment, ref), ref, path)

    async def download_dataset(self, assignment: Assignment, ref: FileRef, id: str, path: Path) -> None:
        """Get the file of an uploaded data set that the assignment's spec names; raises as `download` does."""
        await self._download(assignment, f"/v1/worker/datasets/{assignment.id}/{id}", ref, path)

    async def _download(self, assignment: Assignment, url: str, ref: FileRef, path: Path) -> None:
        pause = Pause()
        while True:
            try:
                async with self._http.stream("GET", url, headers=self._lease(assignment)) as response:
                    if not _is_away(response):
                        if response.status_code != 404:
                            self._raise_for(response, held=True)
                        with atomic_path(path, f"{path.name}.part") as part:
                            await self._write(response, ref, part)
                        return
                    problem = f"it answered {response.status_code}"
            except httpx.TransportError as error:
                response, problem = None, self._words(error)
            await pause.wait(problem, response)

    async def _write(self, response: httpx.Response, ref: FileRef, part: Path) -> None:
        """Write a response's body to `part`. Raises Rejected when it is not the file that `ref` names."""
        if response.status_code == 404:
            raise Rejected(f"The service has no file {ref.name} for this assignment, though it names one.")
        with part.open("wb") as file:
            writer = HashingWriter(file)
            async for chunk in response.aiter_bytes(CHUNK_BYTES):
                writer.write(chunk)
        if (writer.sha256, part.stat().st_size) != (ref.sha256, ref.bytes):
            raise Rejected(f"The service's file {ref.name} does not match its checksum: it was changed or damaged.")

    async def _answer(self, route: str, message: BaseModel) -> Answer:
        response = await self._post(route, message)
        self._raise_for(response, held=True)
        return self._parse(Answer, response)

    def _parse(self, kind: type[Parsed], response: httpx.Response) -> Parsed:
        try:
            return kind.model_validate_json(response.content)
        except ValueError as error:
            text = f"{self.server} sent no {kind.__name__} that this worker understands. Are both of the same version?"
            raise WorkerRefused(text) from error

    async def _post(self, route: str, message: BaseModel, **options: Any) -> httpx.Response:
        headers = {"Content-Type": "application/json"}
        content = message.model_dump_json().encode()
        return await self._send("POST", f"/v1/worker/{route}", headers=headers, content=content, **options)

    async def _send(self, method: str, path: str, file: Path | None = None, **options: Any) -> httpx.Response:
        """Repeat a request until the service is no longer away, and return the response. `file`: the body, if any."""
        pause = Pause()
        while True:
            if file is not None:
                options["content"] = _chunks(file)  # a new one each time: a stream is read once
            try:
                response = await self._http.request(method, path, **options)
            except httpx.TransportError as error:
                await pause.wait(self._words(error))
                continue
            if not _is_away(response):
                return response
            await pause.wait(f"it answered {response.status_code}: {_detail(response)}", response)

    def _raise_for(self, response: httpx.Response, held: bool = False) -> None:
        """Raise for an error response. About a `held` assignment, 404 means that the service no longer knows it."""
        status = response.status_code
        if cure := self._way.explain_answer(status):
            raise WorkerRefused(cure)
        if status in (401, 403):
            why = "needs a worker token" if status == 401 else "does not accept this token for workers"
            raise WorkerRefused(f"{self.server} {why}: set LUTHIER_WORKER_TOKEN to the service's worker token.")
        if held and status in (404, 409):
            raise LeaseLost("The service has given this assignment to another worker, or it has ended.")
        if not response.is_success:
            raise Rejected(f"The service refused the worker's message ({status}): {_detail(response)}")

    def _words(self, error: httpx.TransportError) -> str:
        return self._way.explain(error) or str(error) or type(error).__name__

    @staticmethod
    def _file(assignment: Assignment, ref: FileRef) -> str:
        return f"/v1/worker/files/{assignment.id}/{ref.name}"

    @staticmethod
    def _lease(assignment: Assignment) -> dict[str, str]:
        return {"X-Lease-Token": assignment.token}


def _is_away(response: httpx.Response) -> bool:
    return response.status_code in (408, 425, 429) or response.status_code >= 500


def _detail(response: httpx.Response) -> str:
    """Return the sentence of a problem+json response, with the path of a refused field."""
    try:
        body = response.json()
        errors = body.get("errors") or body["detail"]
        return one_line(str(errors), 500)
    except (ValueError, LookupError, AttributeError, httpx.ResponseNotRead):
        return response.reason_phrase


def _paths(response: httpx.Response) -> set[str]:
    """Return the paths of the fields that a problem+json response names."""
    try:
        return {str(error["path"]) for error in response.json()["errors"]}
    except (ValueError, LookupError, TypeError):
        return set()


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
