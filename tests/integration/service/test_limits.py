"""Limits of clients and projects: 429 with a sentence, the setting's name and how long to wait; nobody else suffers."""

import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from luthier.service.api.plan import _limits
from luthier.service.api.rate_limit import BURST_SECONDS, Buckets
from luthier.service.client import Client, ServiceError
from luthier.service.server.app import Tokens
from luthier.studies.protocol import Assignment
from luthier.studies.spec import StudySpec
from tests.support.event_streams import listening
from tests.support.harness import Running, problem, running, spec
from tests.support.raw_http import answer, dialled, head
from tests.support.uploads import CSV, stored, upload

USER = "user-token-0123456789"


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("luthier.service.api.rate_limit.time", clock)
    return clock


def refused(response: httpx.Response, setting: str) -> int:
    """Return how long a client is to wait, whose refusal must name the setting."""
    assert setting in problem(response, 429)["detail"]
    return int(response.headers["Retry-After"])


@pytest.mark.full
@pytest.mark.both_databases
def test_the_last_places_for_studies_are_given_once_also_by_two_services(database_url: str, tmp_path: Path) -> None:
    answers: list[httpx.Response] = []
    limits: dict[str, Any] = {"max_studies_per_project": 3, "max_studies": 100}
    with (
        running(tmp_path / "a", database_url, **limits) as one,
        running(tmp_path / "b", database_url, **limits) as two,
    ):
        one.create("first")
        gate = threading.Barrier(8)

        def create(number: int) -> None:
            gate.wait(20)
            house = (one, two)[number % 2]
            answers.append(httpx.post(f"{house.url}/v1/studies", json=spec(f"s{number}"), timeout=30))

        threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert Counter(answer.status_code for answer in answers) == {201: 2, 429: 6}
        denied = next(answer for answer in answers if answer.status_code == 429)
        assert refused(denied, "LUTHIER_MAX_STUDIES_PER_PROJECT") == 60
        assert "The project default has 3 studies" in denied.json()["detail"]
        assert one.client.post("/v1/studies", json=spec("first")).status_code == 200, "the same study is no new one"
        assert one.client.post("/v1/studies/first/cancel").status_code == 200
        two.create("another")
        refused(one.client.post("/v1/studies/first/extend", json={"budget": {"trials": 9}}), "LUTHIER_MAX_STUDIES")


def test_data_sets_are_limited_in_number_and_bytes(database_url: str, tmp_path: Path) -> None:
    size = 3 * len(CSV)
    with running(tmp_path, database_url, max_datasets=2, max_datasets_bytes_per_project=size) as house:
        first = upload(house)
        long = house.client.post("/v1/datasets", files={"file": ("b.csv", CSV * 3)})
        assert refused(long, "LUTHIER_MAX_DATASETS_BYTES_PER_PROJECT") == 60
        upload(house, CSV * 2, "b.csv")
        assert refused(
            house.client.post("/v1/datasets", files={"file": ("c.csv", b"x,y\n1,2\n")}), "LUTHIER_MAX_DATASETS"
        )
        assert upload(house, status=200)["id"] == first["id"], "the same content is no further data set"
        assert len(stored(house)) == 2, "nothing is left of what was refused"
        house.client.delete(f"/v1/datasets/{first['id']}")
        upload(house)


def test_one_clients_streams_leave_places_for_others(tmp_path: Path) -> None:
    with running(tmp_path, None, max_streams_per_client=2) as house, ExitStack() as stack:
        house.create()
        other = stack.enter_context(httpx.Client(base_url=house.url, headers={"X-Forwarded-For": "192.0.2.7"}))
        streams = [stack.enter_context(listening(house.client, "/v1/studies/s1/events")) for _ in range(2)]
        for stream in streams:
            stream.next("study")
        assert refused(house.anyone.get("/v1/events"), "LUTHIER_MAX_STREAMS_PER_CLIENT") == 5
        with listening(other, "/v1/studies/s1/events") as stream:
            stream.next("study")


def test_who_asks_without_a_pause_is_slowed_down_and_nobody_else(tmp_path: Path, clock: Clock) -> None:
    with running(tmp_path, None, requests_per_second=2) as house:
        for _ in range(int(2 * BURST_SECONDS)):
            assert house.client.get("/v1/tasks").status_code == 200
        assert refused(house.client.get("/v1/tasks"), "LUTHIER_REQUESTS_PER_SECOND") == 1
        assert house.client.get("/healthz").status_code == 200
        assert house.client.get("/v1/tasks", headers={"X-Forwarded-For": "192.0.2.7"}).status_code == 200
        assert house.worker().claim() is None, "workers have a limit of their own"
        clock.now += 0.5
        assert house.client.get("/v1/tasks").status_code == 200
        assert house.client.get("/v1/tasks").status_code == 429


def test_wrong_tokens_are_limited_and_right_ones_pass(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.service.api.rate_limit.WRONG_BURST", 20.0)
    with running(tmp_path, None, Tokens(USER, None)) as house:
        assert house.get("/v1/studies")["items"] == []
        for _ in range(20):
            assert house.anyone.get("/v1/studies", headers={"Authorization": "Bearer guess"}).status_code == 401
        answer = house.anyone.get("/v1/studies", headers={"Authorization": "Bearer another guess"})
        assert "Too many wrong tokens" in problem(answer, 429)["detail"]
        assert house.get("/v1/studies")["items"] == [], "who was right before is at work"
        elsewhere = {"Authorization": "Bearer guess", "X-Forwarded-For": "192.0.2.7"}
        assert house.anyone.get("/v1/studies", headers=elsewhere).status_code == 401
        clock.now += float(answer.headers["Retry-After"])
        assert house.anyone.get("/v1/studies", headers={"Authorization": "Bearer guess"}).status_code == 401


@pytest.mark.full
def test_the_client_waits_as_long_as_it_is_told_and_not_for_what_takes_long(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("luthier.service.client.patience.time", clock)
    with running(tmp_path, None, requests_per_second=1, max_studies=1) as house, Client(house.url) as client:
        for _ in range(int(BURST_SECONDS)):
            assert list(client.list()) == []
        began = clock.now
        client.create(spec("s1"))
        assert clock.now == began + 1
        assert "(LUTHIER_REQUESTS_PER_SECOND)" in caplog.text
        assert "It asks again in 1 s." in caplog.text
        clock.now += BURST_SECONDS
        began = clock.now
        with pytest.raises(ServiceError, match="LUTHIER_MAX_STUDIES"):
            client.create(spec("s2"))
        assert clock.now == began, "a minute is longer than a client waits without asking anybody"


def test_a_bucket_forgets_who_was_quiet_for_longest(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.service.api.rate_limit.MOST_CLIENTS", 2)
    buckets = Buckets(1.0, 1.0)
    assert [buckets.take(client) for client in "abac"] == [0.0, 0.0, 1.0, 0.0]
    assert len(buckets._filled) == 2
    assert buckets.take("c") == 1.0
    clock.now += 0.25
    assert buckets.wait_seconds("c") == 0.75


def promised(house: Running, a: Assignment, size: int) -> tuple[int, bytes]:
    """Announce a file of so many bytes for an assignment, send none, and return the answer."""
    headers = {"X_Lease_Token": a.token, "X_Content_SHA256": "0" * 64, "Content_Length": str(size)}
    with dialled(house) as line:
        line.sendall(head("PUT", f"/v1/worker/files/{a.id}/resume", **headers))
        return answer(line)


@pytest.mark.full
def test_a_worker_may_send_no_more_than_a_trials_files_may_take(tmp_path: Path) -> None:
    with running(tmp_path, None, trial_disk="1MiB") as house:
        worker = house.worker()
        house.started(worker)
        a = worker.take()

        def send(name: str, content: Any) -> httpx.Response:
            headers = {"X-Lease-Token": a.token, "X-Content-SHA256": "0" * 64}
            return worker.client.put(f"/v1/worker/files/{a.id}/{name}", content=content, headers=headers)

        worker.write(a, "best", b"x" * 600_000)
        for content in (b"x" * 600_000, iter([b"x" * 300_000] * 3)):
            refusal = send("resume", content)
            assert "LUTHIER_TRIAL_DISK" in problem(refusal, 413)["detail"]
        assert promised(house, a, 10**10)[0] == 413, "nothing of it is read"
        for name in ("best", "resume"):
            assert "checksum" in problem(send(name, b"x" * 400_000), 422)["detail"], "what fits is taken"
        assert sorted(path.name for path in Path(a.store).iterdir()) == ["best"]
        worker.train(a)
    with running(tmp_path / "other", None) as house:
        worker = house.worker()
        house.started(worker)
        a = worker.take()
        assert promised(house, a, 10**17)[0] == 413, "no disk holds it"


def test_a_plan_says_what_the_limit_on_a_trial_means() -> None:
    each = 12.5
    assert _limits(StudySpec.model_validate(spec()), each) == []
    for limit, text in ((60, "one at the baseline takes about 12.5 s."), (10, "Raise it, or lower space.epochs.")):
        timed = StudySpec.model_validate(spec(budget={"trials": 2, "trial_seconds": limit}))
        (told,) = _limits(timed, each)
        assert f"after {limit} s" in told
        assert told.endswith(text)
