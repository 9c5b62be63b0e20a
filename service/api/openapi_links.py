"""Links of the OpenAPI document: which later calls take the name, number or token that an answer gives.

Generators of clients and fuzzers follow them. `openapi.py` adds them; they are derived from the paths, so that a new
route below a study needs no line here.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple


class Source(NamedTuple):
    """An answer that names something.

    Attributes:
        method: of the operation that gives the answer.
        path: of the operation.
        status: of the answer.
        below: the beginning of the paths of operations that take what it names.
        names: parameter of those operations -> where its value stands.
        body: the same for members of their bodies, where all of them take such a body.
    """

    method: str
    path: str
    status: str
    below: str
    names: dict[str, str]
    body: dict[str, str] | None = None


STUDY = {"name": "$request.path.name"}
TRIAL = STUDY | {"number": "$response.body#/number"}
NAMED = {"name": "$response.body#/name"}
TOKEN = {"token": "$response.body#/token"}
LEASE = {"id": "$response.body#/id"} | TOKEN
ASSIGNMENT = {"assignment_id": "$response.body#/id"}
SOURCES = (
    Source("post", "/v1/studies", "201", "/v1/studies/{name}", NAMED),
    Source("post", "/v1/studies/{name}/trials", "201", "/v1/studies/{name}/trials/{number}", TRIAL),
    Source("post", "/v1/studies/{name}/ask", "200", "/v1/studies/{name}/trials/{number}", TRIAL),
    *(
        Source("post", "/v1/studies/{name}/ask", "200", f"/v1/studies/{{name}}/{verb}", STUDY, TOKEN)
        for verb in ("report", "tell")
    ),
    Source(
        "post",
        "/v1/studies/{name}/predict",
        "202",
        "/v1/studies/{name}/predictions/{prediction_id}",
        STUDY | {"prediction_id": "$response.body#/id"},
    ),
    Source("post", "/v1/schedules", "201", "/v1/schedules/{name}", NAMED),
    Source(
        "post",
        "/v1/schedules/{name}/trigger",
        "201",
        "/v1/schedules/{name}/runs/{run_id}",
        STUDY | {"run_id": "$response.body#/id"},
    ),
    Source("post", "/v1/datasets", "201", "/v1/datasets/{id}", {"id": "$response.body#/id"}),
    *(
        Source("post", "/v1/worker/claim", "200", f"/v1/worker/{verb}", {}, LEASE)
        for verb in ("report", "renew", "finish")
    ),
    Source("post", "/v1/worker/claim", "200", "/v1/worker/files/{assignment_id}/{name}", ASSIGNMENT),
    Source("post", "/v1/worker/claim", "200", "/v1/worker/datasets/{assignment_id}/{dataset_id}", ASSIGNMENT),
)


def add_links(document: dict[str, Any]) -> None:
    """Add to the answers of a document the links to the operations that take what they name."""
    for source in SOURCES:
        links = {
            operation["operationId"]: _link(source, operation["operationId"])
            for operation in _targets(document, source)
        }
        answer = document["paths"][source.path][source.method]["responses"][source.status]
        answer.setdefault("links", {}).update(links)


def _targets(document: dict[str, Any], source: Source) -> Iterator[dict[str, Any]]:
    """Yield the operations whose path begins so; a body is for POST, and what a link leaves open is the caller's."""
    for path, item in document["paths"].items():
        if path == source.below or path.startswith(f"{source.below}/"):
            for method, operation in item.items():
                if source.body is None or method == "post":
                    yield operation


def _link(source: Source, operation: str) -> dict[str, Any]:
    link: dict[str, Any] = {"operationId": operation}
    if source.names:
        link["parameters"] = dict(source.names)
    if source.body is not None:
        link["requestBody"] = dict(source.body)
    return link
