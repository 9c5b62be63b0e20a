"""The reference page of the REST interface, from the OpenAPI document of the service."""

import json
import re
from collections.abc import Iterator
from typing import Any

from docstring import parse
from schema_words import choice

SPECS = {"StudySpec": "a-study", "ScheduleSpec": "a-schedule"}  # parts of spec.md
TITLES = {
    "studies": "Studies",
    "trials": "Trials",
    "events": "Events",
    "external": "A trainer of your own",
    "datasets": "Uploaded data",
    "schedules": "Schedules",
    "operations": "Tasks, workers, operations",
    "worker": "The worker protocol",
}
INTRODUCTION = (
    "A running service describes every route at `/docs` and `/openapi.json`. Errors are `application/problem+json` "
    "([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) with the path of each wrong value. "
    "Times are RFC 3339 in UTC. A token is sent as `Authorization: Bearer TOKEN`."
)


def rest_reference(note: str, document: dict[str, Any]) -> str:
    """Return the page of all routes, and of the objects that they take and answer; `note` says it is generated."""
    routes = [
        (operation.get("tags", ["operations"])[0], f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    tags = [*TITLES, *sorted({tag for tag, _, _ in routes} - {*TITLES})]
    parts = [note, "", "# REST reference", "", INTRODUCTION, ""]
    for tag in tags:
        mine = [(name, operation) for its, name, operation in routes if its == tag]
        if mine:
            parts += [f"## {TITLES.get(tag, tag.capitalize())}", ""]
            parts += [line for name, operation in mine for line in _route(name, operation)]
    parts += ["## Objects", "", "What routes take and answer, as JSON. A field without a default is always there.", ""]
    schemas = document["components"]["schemas"]
    for name in sorted(_reachable(document["paths"], schemas)):
        parts += _object(name, schemas[name])
    return "\n".join(parts).rstrip() + "\n"


def _route(name: str, operation: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a route."""
    words = " ".join(operation.get("description", operation.get("summary", "")).split())
    yield from [f"### {name}", "", f"**Deprecated.** {words}" if operation.get("deprecated") else words, ""]
    parameters = [p for p in operation.get("parameters", []) if p["in"] != "path"]
    if parameters:
        yield from ["| parameter | in | type | meaning |", "|---|---|---|---|"]
        for p in parameters:
            yield f"| `{p['name']}` | {p['in']} | {_cell(_type(p['schema']))} | {_cell(p.get('description', ''))} |"
        yield ""
    if body := operation.get("requestBody"):
        kinds: dict[str, list[str]] = {}  # what it is -> the forms in which it is taken
        for form, content in body["content"].items():
            kinds.setdefault(_type(content.get("schema", {})), []).append(f"`{form}`")
        taken = [f"{kind} ({' or '.join(forms)})" for kind, forms in kinds.items()]
        yield from [f"Takes {' or '.join(taken)}.", ""]
    answers = [_answer(status, answer) for status, answer in sorted(operation["responses"].items())]
    yield from [f"Answers {', '.join(answers)}.", ""]


def _answer(status: str, answer: dict[str, Any]) -> str:
    """Return a status with what comes with it; a problem has the same form everywhere."""
    for kind, content in answer.get("content", {}).items():
        if kind == "application/json" and content.get("schema"):
            return f"{status} {_type(content['schema'])}"
        if kind != "application/problem+json":
            return f"{status} `{kind}`"
    return status


def _object(name: str, schema: dict[str, Any]) -> list[str]:
    """Return the section of an object, or of a word that is one of a few."""
    doc = parse(schema.get("description", ""))
    lines = [f"### {_title(name)}", "", *(line for paragraph in doc.paragraphs for line in (paragraph, ""))]
    if "enum" in schema:
        return [*lines, f"One of {_type(schema)}.", ""]
    words = dict(doc.sections.get("Attributes", []))
    rows = []
    for field, value in schema.get("properties", {}).items():
        default = "" if field in schema.get("required", []) else f"`{json.dumps(value.get('default'))}`"
        meaning = _cell(value.get("description") or words.get(field, ""))
        rows.append(f"| `{field}` | {_cell(_type(value))} | {_cell(default)} | {meaning} |")
    return lines + (["| field | type | default | meaning |", "|---|---|---|---|", *rows, ""] if rows else [])


def _reachable(part: Any, schemas: dict[str, Any]) -> set[str]:
    """Return the names of the schemas that a part of the document refers to; those of specs have a page."""
    names: set[str] = set()
    waiting = [part]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            if "$ref" in here:
                name = here["$ref"].rpartition("/")[2]
                if name not in names and name not in SPECS:
                    names.add(name)
                    waiting.append(schemas[name])
            waiting += here.values()
        elif isinstance(here, list):
            waiting += here
    return names


def _type(schema: dict[str, Any]) -> str:
    """Return a schema's type in words, with a link to an object's section."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](spec.md#{SPECS[name]})" if name in SPECS else f"[{_title(name)}](#{_title(name).lower()})"
    if (words := choice(schema, _type)) is not None:
        return words
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    if schema.get("properties"):
        return "object with " + ", ".join(f"`{name}`" for name in schema["properties"])
    if schema.get("description", "").startswith("A study's spec"):
        return "[a study's spec](spec.md#a-study)"
    if schema.get("description", "").startswith("A schedule"):
        return "[a schedule](spec.md#a-schedule)"
    return str(schema.get("format") or schema.get("type", "any"))


def _title(name: str) -> str:
    """Return a schema's name as people read it: Page_TrialView_ is PageOfTrialView."""
    return re.sub(r"^(\w+?)_(\w+)_$", r"\1Of\2", name)


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")
