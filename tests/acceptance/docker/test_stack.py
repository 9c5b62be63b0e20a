"""The life of one stack, in the order of the file: begun by an older version, updated, killed, stopped, backed up.

Each test takes the stack as the one before left it; the study in it is the quickstart's, made smaller, with real
fine-tuning.
"""

import hashlib
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.archives import unpack_tar
from tests.support.stack import CPU, OLDER, Stack, sh, until
from tests.support.stack_study import EVALUATIONS, NAME, TRIALS, ended_trials, quickstart, resume, under_way

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]

SERVICES = ("postgres", "service", "worker")
VOLUMES = {  # all that a container may write to
    "postgres": {"/var/lib/postgresql/data"},
    "service": {"/var/lib/luthier"},
    "worker": {"/var/lib/luthier", "/var/cache/huggingface", "/var/cache/luthier"},
}


def test_the_first_start_makes_a_token_and_shows_it_once(stack: Stack, older: str | None) -> None:
    stack.tag, stack.files = (older, OLDER) if older else ("test", CPU)
    stack.up()
    (stack.token,) = re.findall(r"shown once: ([0-9a-f]{48})$", stack.logs("secrets"), flags=re.MULTILINE)
    for service in SERVICES:
        assert stack.token not in stack.logs(service)
        assert stack.token not in json.dumps(stack.about(service)), "in no container's environment"


def test_the_study_begins(stack: Stack) -> None:
    assert stack.request("POST", "/v1/studies", json=quickstart()).status_code == 201
    until(lambda: stack.get(f"/v1/studies/{NAME}")["state"] == "running", 150)
    under_way(stack)


def test_a_newer_image_migrates_the_database_and_goes_on(stack: Stack, older: str | None) -> None:
    if older is None:
        pytest.skip("this clone does not reach back to a commit before the latest migration")
    before, trials = stack.sql("SELECT version_num FROM luthier_alembic_version"), stack.trials(NAME)
    stack.tag, stack.files = "test", CPU
    stack.compose("stop", "worker")
    stack.up()
    assert stack.sql("SELECT version_num FROM luthier_alembic_version") > before
    assert stack.logs("secrets").count("shown once") <= 1, "the token is not made anew"
    assert stack.get(f"/v1/studies/{NAME}")["state"] == "paused"
    assert stack.sql("SELECT sum(losses) FROM luthier_assignment") == [["0"]]
    kept = {trial["number"]: trial["values"] for trial in stack.trials(NAME)}
    assert all(kept[trial["number"]][: len(trial["values"])] == trial["values"] for trial in trials)


def test_tokens_are_asked_for(stack: Stack) -> None:
    for path in ("/v1/studies", "/v1/workers", "/dashboard/", "/docs", "/openapi.json", "/metrics"):
        assert stack.request("GET", path, token="").status_code == 401, path
        assert stack.request("GET", path, token="0" * 48).status_code == 401, path
        assert stack.request("GET", path).is_success, path
    claim = {"worker": "stranger", "wait_seconds": 0, "device": "cpu"}
    assert stack.request("POST", "/v1/worker/claim", token="", json=claim).status_code == 401
    assert stack.request("POST", "/v1/worker/claim", json=claim).status_code == 403, "users are no workers"
    assert stack.request("GET", "/readyz", token="").is_success
    (bound,) = stack.about("service")["NetworkSettings"]["Ports"]["8000/tcp"]
    assert bound["HostIp"] == "127.0.0.1"
    assert not stack.about("postgres")["NetworkSettings"]["Ports"].get("5432/tcp"), "published to nobody"


def test_containers_are_confined(stack: Stack) -> None:
    for service in SERVICES:
        about = stack.about(service)
        host = about["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert not host["Privileged"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        writable = {mount["Destination"] for mount in about["Mounts"] if mount["RW"]}
        assert writable == VOLUMES[service]
        mounted = {mount["Destination"] for mount in about["Mounts"]}
        places = mounted | {"/usr/sbin/docker-init"} | {str(up) for path in mounted for up in Path(path).parents}
        changed = {line.split()[1] for line in sh("docker", "diff", about["Id"]).splitlines()}
        assert changed <= places | {"/usr", "/usr/sbin"}, "only the places of the mounts themselves"
        users = sh("docker", "top", about["Id"], "-eo", "pid,uid,args").splitlines()[1:]
        assert users, users
        assert all(line.split()[1] in ("999", "10001") for line in users), users
        status = Path(f"/proc/{about['State']['Pid']}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status


@pytest.mark.parametrize("service", SERVICES)
def test_a_main_process_that_is_killed_comes_back_and_nothing_is_lost(stack: Stack, service: str) -> None:
    trial, done = under_way(stack), ended_trials(stack)
    stack.crash(service)
    until(lambda: stack.about(service)["State"]["Health"]["Status"] == "healthy", 60)
    until(lambda: ended_trials(stack) >= done, 60)
    if service == "worker":
        resume(stack)

    def gone_on() -> dict[str, Any] | None:
        (after,) = [t for t in stack.trials(NAME) if t["number"] == trial["number"]] or [trial]
        assert service == "worker" or after["state"] != "queued", "its lease ran out, and a paused study starts nothing"
        attempts = trial["attempt"] + (service == "worker")  # a report may have come just before the end
        return after if len(after["values"]) > len(trial["values"]) and after["attempt"] >= attempts else None

    after = until(gone_on, 120)
    assert after["attempt"] == trial["attempt"] + (service == "worker"), "only a worker's death costs the lease"


def test_stopping_gives_the_trial_back_and_up_goes_on(stack: Stack) -> None:
    losses = "SELECT sum(losses) FROM luthier_assignment"
    lost = stack.sql(losses)
    trial = under_way(stack)
    began = time.monotonic()
    stack.compose("stop")
    assert time.monotonic() - began < 30, "within the grace period"
    for service in SERVICES:
        state = stack.about(service)["State"]
        assert (state["Status"], state["OOMKilled"]) == ("exited", False), service
        assert state["ExitCode"] in (0, 143), service
    stack.up("postgres")
    state = f"SELECT state FROM luthier_assignment WHERE kind = 'train' AND number = {trial['number']}"
    assert stack.sql(state) == [["queued"]], "given back"
    assert stack.sql(losses) == lost, "which counts as no loss"
    stack.up()


def test_the_budget_is_met_exactly_and_nothing_is_told_twice(stack: Stack) -> None:
    resume(stack)
    until(lambda: stack.get(f"/v1/studies/{NAME}").get("finished_at"), 300)
    study = stack.get(f"/v1/studies/{NAME}")
    assert study["state"] == "completed"
    assert study["error"] is None
    assert {state: count for state, count in study["counts"].items() if count} == {"complete": TRIALS}
    trials = stack.trials(NAME)
    assert [trial["number"] for trial in trials] == list(range(TRIALS))
    for trial in trials:
        assert [value["step"] for value in trial["values"]] == list(range(1, EVALUATIONS + 1))
    told = stack.sql(
        "SELECT t.number, t.state, v.value FROM trials t JOIN trial_values v USING (trial_id) ORDER BY 1, 3"
    )
    assert [(int(number), state, float(value)) for number, state, value in told] == [
        (trial["number"], "COMPLETE", pytest.approx(trial["value"])) for trial in trials
    ]
    reported = stack.sql(
        "SELECT t.number, i.step FROM trials t JOIN trial_intermediate_values i USING (trial_id) ORDER BY 1, 2"
    )
    assert reported == [[str(n), str(step)] for n in range(TRIALS) for step in range(1, EVALUATIONS + 1)]


def test_nothing_restarted_by_itself(stack: Stack) -> None:
    """`compose stop` and `up` start counting anew."""
    for service in SERVICES:
        about = stack.about(service)
        assert about["RestartCount"] == 0, service
        assert about["State"]["Health"]["Status"] == "healthy", service
    assert stack.about("secrets")["State"]["ExitCode"] == 0


def test_the_winner_can_be_downloaded_and_loaded(stack: Stack, tmp_path: Path) -> None:
    from transformers import pipeline

    study = stack.get(f"/v1/studies/{NAME}")
    content = stack.request("GET", study["model"]["url"]).content
    assert hashlib.sha256(content).hexdigest() == study["model"]["sha256"]
    unpack_tar(content, tmp_path)
    folder = next(path.parent for path in tmp_path.rglob("config.json"))
    made = json.loads((folder / "luthier.json").read_text())
    assert made["test"] == study["best"]["test"]
    assert made["trial"] == study["best"]["trial"]
    (answer,) = pipeline("text-classification", str(folder))("a gripping, beautiful film")
    assert answer["label"] in ("negative", "positive")


@pytest.fixture(scope="module")
def copy(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A back-up of the finished study, made while `.env` names images already that have not been built."""
    study, folder = stack.get(f"/v1/studies/{NAME}"), tmp_path_factory.mktemp("back-up") / "copy"
    stack.tag = "next"
    stack.run("docker/backup.sh", str(folder))
    stack.tag = "test"
    until(lambda: stack.get(f"/v1/studies/{NAME}") == study, 60)
    assert stack.about("service")["Config"]["Image"] == "luthier-service:test", "a back-up updates nothing"
    sh("docker", "rmi", "luthier-service:next")
    assert stack.token.encode() not in b"".join(path.read_bytes() for path in folder.iterdir())
    return folder


def model_is_whole(stack: Stack) -> bool:
    model = stack.get(f"/v1/studies/{NAME}")["model"]
    return hashlib.sha256(stack.request("GET", model["url"]).content).hexdigest() == model["sha256"]


def test_a_back_up_is_restored_in_place_or_not_at_all(stack: Stack, copy: Path, tmp_path: Path) -> None:
    study, trials = stack.get(f"/v1/studies/{NAME}"), stack.trials(NAME)
    stack.request("POST", "/v1/studies", json=quickstart() | {"name": "later"}).raise_for_status()
    stack.request("POST", "/v1/studies/later/cancel").raise_for_status()
    stack.compose("exec", "-T", "service", "touch", "/var/lib/luthier/later")

    shutil.copytree(copy, tmp_path / "cut")
    os.truncate(tmp_path / "cut" / "home.tar", (copy / "home.tar").stat().st_size // 2)
    said = sh("docker/restore.sh", str(tmp_path / "cut"), env=stack.environment, check=False)
    assert "Nothing was replaced. To go on with what was there: docker compose up -d" in said, said
    assert "Restored" not in said
    stack.up()
    assert stack.get("/v1/studies/later")["name"] == "later"
    assert model_is_whole(stack)
    stack.compose("exec", "-T", "service", "ls", "/var/lib/luthier/later")

    assert "Restored from" in stack.run("docker/restore.sh", str(copy))
    until(lambda: stack.get(f"/v1/studies/{NAME}") == study, 60)
    assert stack.trials(NAME) == trials
    assert model_is_whole(stack)
    assert stack.request("GET", "/v1/studies/later").status_code == 404
    assert "later" not in stack.compose("exec", "-T", "service", "ls", "-A", "/var/lib/luthier").split()


def test_a_back_up_restores_a_new_machine(stack: Stack, copy: Path) -> None:
    study, trials = stack.get(f"/v1/studies/{NAME}"), stack.trials(NAME)
    stack.compose("down", "--volumes", "--timeout", "5")
    sh("docker", "rmi", "luthier-service:test")

    stack.run("docker/restore.sh", str(copy))
    (stack.token,) = re.findall(r"shown once: ([0-9a-f]{48})$", stack.logs("secrets"), flags=re.MULTILINE)
    until(lambda: stack.get(f"/v1/studies/{NAME}") == study, 60)
    assert stack.trials(NAME) == trials
    assert model_is_whole(stack)


def test_an_older_image_refuses_the_newer_schema(stack: Stack, older: str | None) -> None:
    if older is None:
        pytest.skip("this clone does not reach back to a commit before the latest migration")
    version = stack.sql("SELECT version_num FROM luthier_alembic_version")
    stack.tag, stack.files = older, OLDER
    stack.compose("up", "-d", "--no-deps", "service")
    until(lambda: "a newer one wrote it. Start that version, or restore a back-up" in stack.logs("service"), 30)
    assert "Traceback" not in stack.logs("service")
    stack.tag, stack.files = "test", CPU
    stack.up()
    assert stack.sql("SELECT version_num FROM luthier_alembic_version") == version
    assert stack.get(f"/v1/studies/{NAME}")["state"] == "completed"


def test_workers_scale(stack: Stack) -> None:
    stack.compose("up", "-d", "--wait", "--no-recreate", "--scale", "worker=2")
    containers = {container[:12] for container in stack.compose("ps", "-q", "worker").split()}
    assert len(containers) == 2

    def at_work() -> set[str]:
        workers = stack.get("/v1/workers").get("items", [])
        return {worker["name"].partition("@")[2] for worker in workers if worker["state"] != "away"}

    until(lambda: containers <= at_work(), 60)
