"""The OpenAPI document: what FastAPI derives from the routes, with errors as problems and the tokens to present."""

from typing import Any

from fastapi import FastAPI

from luthier.service.api.auth import COOKIE, OPEN
from luthier.service.api.openapi_links import add_links
from luthier.service.api.rate_limit import FREE
from luthier.service.errors import TooMany

PROBLEM_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemView"}}}
LEASE_HEADER = "X-Lease-Token"
SCHEMES = {
    "user": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of a person or program, or LUTHIER_TOKEN; none where the service asks for none.",
    },
    "login": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "The cookie that /login sets."},
    "worker": {
        "type": "http",
        "scheme": "bearer",
        "description": "LUTHIER_WORKER_TOKEN, or a token with the scope worker; none where neither is set.",
    },
    "lease": {"type": "apiKey", "in": "header", "name": LEASE_HEADER, "description": "The token of an assignment."},
}
GZIP: dict[int | str, dict[str, Any]] = {200: {"content": {"application/gzip": {}}}}  # a route's answer
ZIP: dict[int | str, dict[str, Any]] = {200: {"content": {"application/zip": {}}}}
BYTES: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}
CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
REFUSED = {
    "401": {"description": "Not authenticated", "content": PROBLEM_CONTENT},
    "403": {"description": "Forbidden", "content": PROBLEM_CONTENT},
    "503": {"description": "Unavailable", "content": PROBLEM_CONTENT},
}


def install(app: FastAPI) -> None:
    """Have `app` describe itself as it behaves."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(plain())
            app.openapi_schema = exact(app.openapi_schema)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any]) -> None:
    """Add to a document what FastAPI cannot know, and take away the shape of errors that it makes up."""
    document["components"]["securitySchemes"] = SCHEMES
    for path, item in document["paths"].items():
        for operation in item.values():
            operation["security"] = _security(path, operation)
            if operation["security"]:
                operation["responses"] = _refused() | operation["responses"]
            if "parameters" in operation:  # what all routes share comes last
                operation["parameters"].sort(key=lambda parameter: parameter["name"] == "project")
            if "requestBody" in operation:
                operation["responses"].setdefault("413", {"description": "Too large"})
                for content in operation["requestBody"]["content"].values():
                    _drop_null(content)
            if path not in FREE:
                operation["responses"].setdefault("429", {"description": TooMany.title, "headers": RETRY_AFTER})
            if path.startswith("/v1/"):  # an unknown query parameter
                operation["responses"].setdefault("422", {"description": "Invalid"})
            for parameter in operation.get("parameters", []):
                _drop_null(parameter)
            for status, response in operation["responses"].items():
                if status >= "400":
                    response["content"] = PROBLEM_CONTENT
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    add_links(document)


def _drop_null(holder: dict[str, Any]) -> None:
    """Take out of the schema of a body or a parameter that it may be null: FastAPI means that it may be absent."""
    kinds = holder.get("schema", {}).get("anyOf", [])
    others = [kind for kind in kinds if kind != {"type": "null"}]
    if len(others) == 1 and len(kinds) > 1:
        about = {key: value for key, value in holder["schema"].items() if key != "anyOf"}
        holder["schema"] = others[0] | (about if "$ref" not in others[0] else {})


def exact(part: Any) -> Any:
    """Return a part of a document with what FastAPI and pydantic leave out of it.

    Whole numbers stay whole numbers: FastAPI makes floats of bounds, and no float is 2**63 - 1. Where the names of an
    object's keys have a pattern, other names are refused.
    """
    if isinstance(part, dict):
        whole = {key: exact(value) for key, value in part.items()}
        if "patternProperties" in whole:
            whole.setdefault("additionalProperties", False)
        return whole
    if isinstance(part, list):
        return [exact(value) for value in part]
    return int(part) if isinstance(part, float) and part.is_integer() else part


def _refused() -> dict[str, Any]:
    """Return what the access control answers, for one operation."""
    return {status: dict(refused) for status, refused in REFUSED.items()}


def _security(path: str, operation: dict[str, Any]) -> list[dict[str, list[str]]]:
    """Return what an operation asks for, each alternative a set of schemes; the lease is then no parameter."""
    if path in OPEN:
        return []
    if not path.startswith("/v1/worker/"):
        return [{"user": []}, {"login": []}]
    parameters = operation.get("parameters", [])
    others = [parameter for parameter in parameters if parameter["name"] != LEASE_HEADER]
    if len(others) == len(parameters):
        return [{"worker": []}]
    operation["parameters"] = others
    return [{"worker": [], "lease": []}]
