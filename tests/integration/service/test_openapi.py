"""The OpenAPI document is true: what is answered fits its schema, and each operation names the tokens it asks for."""

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import httpx
import jsonschema_rs
import pytest

from luthier.service.server.app import Tokens
from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.uploads import dataset_id
from tests.support import external
from tests.support.event_streams import beginning
from tests.support.harness import Running, running, spec
from tests.support.nightly import BETTER, Nightly

USER, WORKER = "user-token-0123456789", "worker-token-0123456789"
TABLE = b"text,label\na,1\nb,2\n"
VALUES = {"run_id": "1", "number": "0", "kind": "history", "assignment_id": "1", "prediction_id": "1"}
VALUES |= {"id": dataset_id("csv", sha256(TABLE).hexdigest())}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with something of everything: a study with a model, a schedule with a champion that was promoted."""
    with running(tmp_path_factory.mktemp("home"), None, Tokens(USER, WORKER)) as house:
        house.finished(budget={"trials": 2}, name="s1", confirm={"candidates": 2, "seeds": 2})
        house.client.post("/v1/datasets", files={"file": ("a.csv", TABLE)}).raise_for_status()
        nightly = Nightly(house, house.worker("w2"))
        nightly.run("a")
        nightly.worker.comparison = BETTER
        nightly.run("b")
        yield house


@pytest.fixture(scope="module")
def document(full: Running) -> dict[str, Any]:
    return full.get("/openapi.json")


def check(document: dict[str, Any], operation: dict[str, Any], answer: httpx.Response) -> None:
    """The status is listed, and the body is of a listed kind and fits its schema."""
    response = operation["responses"][str(answer.status_code)]
    if answer.status_code == 204:
        assert answer.content == b""
        assert "content" not in response
        return
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind in response["content"]
    if kind.endswith("json"):
        schema = response["content"][kind]["schema"]
        assert schema != {}
        jsonschema_rs.validate({**schema, "components": document["components"]}, answer.json())


def path_of(template: str) -> str:
    named = template.replace("/schedules/{name}", "/schedules/nightly").replace("/{name}", "/s1")
    return re.sub(r"\{([^}]*)\}", lambda match: VALUES[match[1]], named)


@pytest.mark.full
def test_every_get_answers_as_described(full: Running, document: dict[str, Any]) -> None:
    seen = 0
    for template, item in document["paths"].items():
        if "get" not in item or template.startswith("/v1/worker/"):
            continue
        for path in (path_of(template), path_of(template).replace("s1", "none").replace("nightly", "none")):
            answer = beginning(full.client, "GET", path)
            check(document, item["get"], answer)
            seen += answer.status_code == 200
        if item["get"]["security"]:
            refused = full.anyone.get(path_of(template))
            assert refused.status_code == 401
            check(document, item["get"], refused)
    assert seen >= 15


@pytest.mark.full
def test_every_message_of_a_trainer_of_ones_own_is_answered_as_described(
    full: Running, document: dict[str, Any]
) -> None:
    assert full.client.post("/v1/studies", json=external.document(budget={"trials": 1})).status_code == 201

    def send(word: str, name: str = "tuning", **message: Any) -> httpx.Response:
        answer = full.client.post(f"/v1/studies/{name}/{word}", json=message)
        check(document, document["paths"][f"/v1/studies/{{name}}/{word}"]["post"], answer)
        return answer

    token = send("ask").json()["token"]
    said = {"token": token, "step": 1, "metrics": {"score": 0.5}}
    answers = [send("ask"), send("report", **said), send("tell", token=token), send("ask"), send("report", **said)]
    assert [answer.status_code for answer in answers] == [202, 200, 200, 410, 409]
    for word, message in (("ask", {}), ("report", {"token": "x"}), ("tell", {"token": "x"})):
        refused = [send(word, name, **message).status_code for name in ("s1", "none")]
        assert refused == [409, 404]
        assert send(word, unknown=1).status_code == 422


def test_every_message_of_the_worker_protocol_is_answered_as_described(full: Running, document: dict[str, Any]) -> None:
    paths = document["paths"]
    full.create("s2", budget={"trials": 1})
    worker = full.worker("w3")
    kinds = set()
    with httpx.Client(base_url=full.url, headers={"Authorization": f"Bearer {WORKER}"}) as client:
        while True:
            claimed = client.post("/v1/worker/claim", json={"worker": "w3"})
            check(document, paths["/v1/worker/claim"]["post"], claimed)
            if claimed.status_code == 204:
                break
            assignment = Assignment.model_validate(claimed.json())
            kinds.add(assignment.kind)
            held = {"id": assignment.id, "token": assignment.token}
            check(document, paths["/v1/worker/renew"]["post"], client.post("/v1/worker/renew", json=held))
            if assignment.kind == AssignmentKind.INSPECT:
                worker.inspect(assignment)
            elif assignment.kind == AssignmentKind.TRAIN:
                report = {**held, "step": 1, "metrics": {"accuracy": 0.5, "loss": 0.1}}
                check(document, paths["/v1/worker/report"]["post"], client.post("/v1/worker/report", json=report))
                worker.train(assignment)
            else:
                end = {**held, "status": "failed", "reason": "error"}
                check(document, paths["/v1/worker/finish"]["post"], client.post("/v1/worker/finish", json=end))
        late = {"id": 1, "token": "stale"}
        check(document, paths["/v1/worker/renew"]["post"], client.post("/v1/worker/renew", json=late))
        check(document, paths["/v1/worker/renew"]["post"], client.post("/v1/worker/renew", json={}))
    assert kinds >= {AssignmentKind.INSPECT, AssignmentKind.TRAIN, AssignmentKind.EVALUATE}


def test_what_changes_something_is_answered_as_described(full: Running, document: dict[str, Any]) -> None:
    def ask(method: str, template: str, path: str, **options: Any) -> None:
        check(document, document["paths"][template][method], full.client.request(method, path, **options))

    for body in ({"json": spec("s3")}, {"json": spec("s3")}, {"json": spec("s3", seed=1)}, {"content": b" " * 2**20}):
        ask("post", "/v1/studies", "/v1/studies", **body)
    ask("post", "/v1/studies", "/v1/studies", content=b"a: 010")
    for action in ("pause", "resume", "cancel", "cancel", "dance"):
        ask("post", "/v1/studies/{name}/{action}", f"/v1/studies/s3/{action}")
    for _ in range(2):
        ask("delete", "/v1/studies/{name}", "/v1/studies/s3")
    for changes in ({"paused": True}, {"cron": "never"}, {"nmae": 1}):
        ask("patch", "/v1/schedules/{name}", "/v1/schedules/nightly", json=changes)
    ask("patch", "/v1/schedules/{name}", "/v1/schedules/nightly", content=b"[]")


def test_each_operation_names_the_tokens_that_it_asks_for(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert {name: scheme["type"] for name, scheme in schemes.items()} == {
        "user": "http",
        "login": "apiKey",
        "worker": "http",
        "lease": "apiKey",
    }
    for path, item in document["paths"].items():
        for operation in item.values():
            if path in ("/healthz", "/readyz"):
                assert operation["security"] == []
            elif path.startswith(("/v1/worker/files/", "/v1/worker/datasets/")):
                assert operation["security"] == [{"worker": [], "lease": []}]
                assert "X-Lease-Token" not in [parameter["name"] for parameter in operation["parameters"]]
            elif path.startswith("/v1/worker/"):
                assert operation["security"] == [{"worker": []}]
            else:
                assert operation["security"] == [{"user": []}, {"login": []}]
            assert ("401" in operation["responses"]) == bool(operation["security"])
            assert ("413" in operation["responses"]) >= ("requestBody" in operation)


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object within a document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(inner)


def test_schemas_say_exactly_what_is_taken(document: dict[str, Any]) -> None:
    for part in parts(document):
        bounds = [part.get(key) for key in ("maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum")]
        assert not any(isinstance(bound, float) and bound.is_integer() for bound in bounds), "2**63 is no float"
        assert part.get("type") != "integer" or not {"ge", "gt", "le", "lt"} & part.keys()
        assert "patternProperties" not in part or part["additionalProperties"] is False
    for item in document["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                assert {"type": "null"} not in parameter["schema"].get("anyOf", []), "no query and no header is null"


def test_links_lead_to_what_takes_the_named_thing(full: Running, document: dict[str, Any]) -> None:
    operations = {
        operation["operationId"]: (method, path)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    made = document["paths"]["/v1/studies"]["post"]["responses"]["201"]["links"]
    assert {operations[link["operationId"]] for link in made.values()} == {
        where for where in operations.values() if where[1].startswith("/v1/studies/{name}")
    }
    claimed = document["paths"]["/v1/worker/claim"]["post"]["responses"]["200"]["links"]
    bodies = [link["requestBody"] for link in claimed.values() if "requestBody" in link]
    assert bodies == [{"id": "$response.body#/id", "token": "$response.body#/token"}] * 3
