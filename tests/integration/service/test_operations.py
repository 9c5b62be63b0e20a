"""Health, metrics, tasks, workers, and the service's own description."""

import re
from typing import Any

import jsonschema_rs
import pytest
from prometheus_client.parser import text_string_to_metric_families

import luthier
from luthier.service.schemas import ProblemView
from luthier.studies.hyperparameters import HYPERPARAMETERS
from luthier.studies.tasks import TASKS
from tests.support.harness import Running, ScriptedWorker


def test_health(house: Running) -> None:
    assert house.get("/healthz") == {"status": "ok"}
    assert house.get("/readyz") == {"status": "ok"}


def test_metrics_are_prometheus(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 3})
    worker.train(worker.take())
    worker.finish(worker.take(), "failed", reason="oom")
    worker.take()
    house.move_clock(31)
    house.reap()
    response = house.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert samples[("luthier_studies", "running")] == 1
    assert samples[("luthier_trials", "", "complete")] == 1
    assert samples[("luthier_trials", "failed", "oom")] == 1
    assert samples[("luthier_trials", "", "queued")] == 1
    assert samples[("luthier_workers", "idle")] == 1
    assert samples[("luthier_lost_leases_total",)] == 1
    assert samples[("luthier_worker_busy_seconds_total",)] >= 1


def test_workers_are_idle_busy_or_away(house: Running, worker: ScriptedWorker) -> None:
    worker.post("claim", worker="w1", device="NVIDIA H200\x00", version="0.1.0")
    (seen,) = house.get("/v1/workers")["items"]
    assert seen["name"] == "w1"
    assert seen["state"] == "idle"
    assert seen["study"] is None
    assert seen["device"].startswith("NVIDIA H200")
    assert seen["version"] == "0.1.0"
    house.started(worker)
    worker.take()
    (seen,) = house.get("/v1/workers")["items"]
    assert (seen["state"], seen["study"], seen["trial"]) == ("busy", "s1", 0)
    house.worker("w2").claim()
    house.move_clock(100)
    house.reap()
    assert [item["state"] for item in house.get("/v1/workers")["items"]] == ["away", "away"]
    house.move_clock(90_000)
    assert house.get("/v1/workers")["items"] == []


def test_tasks_tell_every_default(house: Running) -> None:
    tasks = {task["name"]: task for task in house.get("/v1/tasks")["items"]}
    assert tasks.keys() == TASKS.keys()
    task = tasks["text-classification"]
    assert task["metrics"][0]["name"] == "accuracy"
    assert task["columns"]["text"] == {"default": "text", "required": True}
    assert {name: h["default"] for name, h in task["hyperparameters"].items()} == {
        name: h.shown_default for name, h in HYPERPARAMETERS.items() if name not in ("mixup_alpha", "threshold")
    }
    assert list(task["augmentations"]) == ["none", "token_dropout", "masking"]
    assert not TASKS["image-regression"].has_lengths
    for name, shown in tasks.items():
        lengths = TASKS[name].has_lengths
        assert shown["baseline"].get("max_length") == ("auto" if lengths else None)
        assert ("max_length" in shown["hyperparameters"]) == lengths
    assert task["hyperparameters"]["max_length"]["default"] == "auto"


def test_paths_that_lead_nowhere_are_problems(house_sqlite: Running) -> None:
    for method in ("GET", "POST", "DELETE", "PATCH"):
        answer = house_sqlite.client.request(method, "/v1/studies/a/b/c/d")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        ProblemView.model_validate(answer.json())


@pytest.fixture(scope="module")
def document(house_sqlite: Running) -> dict[str, Any]:
    return house_sqlite.get("/openapi.json")


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()


def test_the_description_is_sound(document: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d", document["openapi"])
    assert document["info"]["title"] == "Luthier"
    assert document["info"]["version"] == luthier.__version__
    for reference in references(document):
        at: Any = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in at, reference
            at = at[part]
    for name, schema in document["components"]["schemas"].items():
        whole = {**schema, "components": document["components"]}
        jsonschema_rs.Draft202012Validator(whole), name
    verbs = [path for path in document["paths"] if ":" in path]
    assert verbs == ["/v1/studies:plan"], "all others are paths with a slash"
    assert document["paths"]["/v1/studies:plan"]["post"]["deprecated"]
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, operation) for path, item in document["paths"].items() for method, operation in item.items()]


CONTRACT = {
    ("/v1/studies", "post"): {"201", "200", "409", "413", "422"},
    ("/v1/studies", "get"): {"200", "422"},
    ("/v1/studies:plan", "post"): {"200", "413", "422", "503"},
    ("/v1/plan", "post"): {"200", "413", "422", "503"},
    ("/v1/studies/{name}", "patch"): {"200", "404", "409", "412", "422"},
    ("/v1/schedules/{name}", "patch"): {"200", "404", "412", "413", "422"},
    ("/v1/studies/{name}/trials/{number}", "delete"): {"204", "404", "409", "422"},
    ("/v1/studies/{name}/trials/{number}/stop", "post"): {"200", "404", "409", "422"},
    ("/v1/studies/{name}/trials/{number}/retry", "post"): {"200", "404", "409", "422", "503"},
    ("/v1/studies/{name}", "get"): {"200", "404"},
    ("/v1/studies/{name}", "delete"): {"204", "404", "409"},
    ("/v1/studies/{name}/{action}", "post"): {"200", "404", "409"},
    ("/v1/studies/{name}/model", "get"): {"200", "404"},
    ("/v1/studies/{name}/trials", "get"): {"200", "404", "422"},
    ("/v1/studies/{name}/trials", "post"): {"201", "200", "404", "409", "422"},
    ("/v1/studies/{name}/trials/{number}", "get"): {"200", "404"},
    ("/v1/studies/{name}/trials/{number}/logs", "get"): {"200", "404"},
    ("/v1/studies/{name}/plots/{kind}", "get"): {"200", "404", "409", "422"},
    ("/v1/worker/claim", "post"): {"200", "204", "401", "422"},
    ("/v1/worker/report", "post"): {"200", "401", "409", "422"},
    ("/v1/worker/renew", "post"): {"200", "401", "409", "422"},
    ("/v1/worker/finish", "post"): {"204", "401", "409", "422"},
    ("/v1/tasks", "get"): {"200"},
    ("/v1/workers", "get"): {"200"},
    ("/metrics", "get"): {"200"},
    ("/readyz", "get"): {"200", "503"},
}


@pytest.mark.parametrize(("path", "method"), CONTRACT)
def test_a_route_lists_what_it_answers(document: dict[str, Any], path: str, method: str) -> None:
    responses = document["paths"][path][method]["responses"]
    assert CONTRACT[path, method] <= responses.keys()
    for status, response in responses.items():
        if status >= "400":
            assert list(response["content"]) == ["application/problem+json"], (path, status)


def test_what_is_answered_is_as_described(house: Running, document: dict[str, Any]) -> None:
    house.finished()
    for path, template in (
        ("/v1/studies", "/v1/studies"),
        ("/v1/studies/s1", "/v1/studies/{name}"),
        ("/v1/studies/s1/trials", "/v1/studies/{name}/trials"),
        ("/v1/tasks", "/v1/tasks"),
        ("/v1/workers", "/v1/workers"),
    ):
        schema = document["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema_rs.validate({**schema, "components": document["components"]}, house.get(path))
