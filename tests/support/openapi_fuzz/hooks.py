"""Hooks of schemathesis: what a schema cannot say about valid requests, and the answers that are right all the same.

Schemathesis loads this file in its own process. It never changes a request that is meant to be refused.
"""

import json
import re
import zlib
from collections.abc import Callable
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.generation import GenerationMode
from schemathesis.openapi.checks import RejectedPositiveData

from luthier.service.api import paging
from tests.support.external import document
from tests.support.harness import spec
from tests.support.nightly import schedule

SHORT_WAIT = 0.01  # seconds that a request for work waits, so that no example waits for long
NAMES = ("tuning", "done", "going", "nightly", "fuzzed-0", "fuzzed-1")
KEPT = {"tuning", "going", "nightly"}  # that the fixture needs: no request deletes them
SPECS = re.compile(r"/v1/(plan|studies|studies:plan)")
LEASE: dict[str, str] = {}  # the token of the last claim, which is a header of the transfers of files


def format_cursor() -> None:
    """Tell what strings of the format `cursor` are: the document calls them opaque."""
    schemathesis.openapi.format("cursor", st.integers(0, 10**18 - 1).map(paging.encode))


format_cursor()


def _draw(case: Any, choices: tuple[Any, ...]) -> Any:
    """Return one of `choices`, the same for the same request, so that what was found can be found again."""
    return choices[zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode()) % len(choices)]


def _valid_body(case: Any) -> Any:
    """Return a valid document for an operation whose schema says only that it is an object; None for any other."""
    path, method, name = case.operation.path, case.operation.method.upper(), _draw(case, NAMES[-2:])
    if method == "POST" and SPECS.fullmatch(path):
        if "plan" in path:
            return document(name=name)
        return _draw(case, (document(name=name), spec(name, budget={"trials": 2}), document(name=name, parallel=1)))
    if path.startswith("/v1/schedules") and method in ("POST", "PATCH") and path.count("/") < 4:
        return schedule(name=name, cron="0 3 * * *") if method == "POST" else {"paused": False}
    return None


@schemathesis.hook
def map_case(context: Any, case: Any) -> Any:
    """Give a request that is to be accepted what it needs for that: names that are there, documents that are valid."""
    wait = case.body.get("wait_seconds") if isinstance(case.body, dict) else None
    if isinstance(wait, int | float) and SHORT_WAIT < wait <= 60:
        case.body["wait_seconds"] = SHORT_WAIT
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return case
    parameters = case.path_parameters
    if parameters and "name" in parameters and not case.operation.path.startswith("/v1/worker/"):
        deletes = case.operation.method.upper() == "DELETE"
        names = tuple(name for name in NAMES if not deletes or name not in KEPT)
        parameters["name"] = _draw(case, (*names, parameters["name"]))
    body = _valid_body(case)
    if body is not None:
        case.body = body
        case.media_type = "application/json"
    return case


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Send the last lease's token where a transfer of files needs one, unless the request is to be refused."""
    if "X-Lease-Token" in (case.headers or {}) and LEASE and case.meta.generation.mode is GenerationMode.POSITIVE:
        case.headers["X-Lease-Token"] = LEASE["token"]


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Keep the token of a claim."""
    if case.operation.path == "/v1/worker/claim" and response.status_code == 200:
        LEASE["token"] = json.loads(response.content)["token"]


def _is(kind: type[Failure], path: str, words: str = "") -> Callable[[Failure, Any, str], bool]:
    return lambda failure, case, told: (
        isinstance(failure, kind) and re.fullmatch(path, case.operation.path) is not None and words in told
    )


# What a check calls a failure, and is none: each with its reason. Anything else fails the run.
EXCUSES: dict[str, Callable[[Failure, Any, str], bool]] = {
    "the keys by which trials are sorted are those of the study's space": _is(
        RejectedPositiveData, "/v1/studies/{name}/trials", "can be sorted by"
    ),
    "the kind of an upload is told by its file's name": _is(RejectedPositiveData, "/v1/datasets", "is of no kind"),
    "what an extension may take is told by the study's present budget": _is(
        RejectedPositiveData, "/v1/studies/{name}/extend", "budget"
    ),
    "a score needs a step": _is(RejectedPositiveData, "/v1/studies/{name}/report", "step: is missing"),
    "a reason and a value belong to some ends only": _is(
        RejectedPositiveData, "/v1/studies/{name}/tell", "has no meaning for"
    ),
    "an end without a value needs a report that has one": _is(
        RejectedPositiveData, "/v1/studies/{name}/tell", "value: is missing"
    ),
    "a configuration is inside the study's space": _is(RejectedPositiveData, "/v1/studies/{name}/trials", "params."),
    "a file is sent before the message that names it": _is(
        RejectedPositiveData, "/v1/worker/(report|finish)", "is not whole in the service's store"
    ),
    "If-Match takes entity tags, whose pattern is too much for the generator": _is(
        RejectedPositiveData, "/v1/(studies|schedules)/{name}", "If-Match"
    ),
    "the end of a token is ahead of now, which no schema knows": _is(
        RejectedPositiveData, "/v1/tokens(/{id})?", "expires_at: must be"
    ),
    "a whole number is written without a fraction": _is(
        RejectedPositiveData,
        "/v1/studies/{name}(/trials)?|/v1/tokens(/{id})?|/v1/projects/{name}",
        "must be a whole number",
    ),
    "a table has bytes, which the generator does not know of a binary body": _is(
        RejectedPositiveData, "/v1/studies/{name}/predict", "The table is empty"
    ),
    "a table is read by a worker, after it was taken": _is(AcceptedNegativeData, "/v1/studies/{name}/predict"),
    "an Idempotency-Key belongs to one body": _is(
        RejectedPositiveData, "/v1/studies/{name}/trials", "was sent before with another body"
    ),
}


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Return whether a failure counts."""
    told = response.content[:2000].decode(errors="replace")
    return not any(excuse(failure, case, told) for excuse in EXCUSES.values())
