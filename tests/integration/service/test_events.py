"""Streams of events tell all that happens, once and in order, wherever and however often they are gone on with."""

import asyncio
import threading
from pathlib import Path

import pytest

from luthier import AsyncClient, Client, ServiceError
from luthier.service.client import Event
from luthier.service.client.events import Following
from luthier.service.schemas.events import LogEvent, ReportEvent, TrialEvent
from luthier.service.server.app import Tokens
from luthier.service.server.timings import Timings
from luthier.studies.protocol import AssignmentKind, StudyState
from tests.support.event_streams import Told, evaluations, has_ended, listening, reported
from tests.support.harness import Running, ScriptedWorker, problem, running
from tests.support.many_rows import add_study
from tests.support.several_services import Together, create, processes

EVENTS = "/v1/studies/s1/events"
TOKENS = Tokens("user-token-0123456789", "worker-token-0123456789")


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last lines of a log are waited for a moment only."""
    monkeypatch.setattr("luthier.service.api.event_logs.LAST_SECONDS", 0.05)


@pytest.mark.both_databases
def test_what_happens_is_told_as_it_happens(house: Running, worker: ScriptedWorker, prompt: None) -> None:
    house.create(budget={"trials": 1}, space={"learning_rate": 1e-4, "epochs": 2})
    with listening(house.client, EVENTS) as stream:
        assert stream.next("study").data == {**house.study(), "data": None}
        worker.inspect(worker.take(AssignmentKind.INSPECT))
        states = {told.data["state"] for told in stream.until(lambda told: told.data["state"] == "running")}
        assert states <= {"queued", "running"}  # several changes in one look are told as one
        trial = worker.take()
        assert stream.next("trial").data == {**house.trials()[0], "study": "s1", "seconds": 0.0}
        assert stream.next("study").data["counts"]["running"] == 1
        metrics = {"accuracy": None, "loss": 0.1}
        worker.report(trial, 1, None)
        assert stream.next("report").data == {"study": "s1", "number": 0, "step": 1, "metrics": metrics}
        worker.train(trial.model_copy(update={"checkpoint": trial.checkpoint.model_copy(update={"step": 1})}))
        assert stream.next("report").data["step"] == 2
        assert stream.next("trial").data == {**house.trials()[0], "study": "s1"}
        worker.drain()
        told = stream.until(has_ended)
        assert told[-1].data == {**house.study(), "data": None, "costs": []}


@pytest.mark.both_databases
def test_a_stream_goes_on_after_any_event(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 3})
    worker.drain()
    with listening(house.client, f"{EVENTS}?last_event_id=0&kind=study&kind=trial&kind=report") as stream:
        told = stream.until(has_ended)
    assert reported(told) == evaluations(house.trials())
    assert len({event.id for event in told}) == len(told)
    for place, event in enumerate(told[:-1]):
        with listening(house.client, f"{EVENTS}?last_event_id=0&kind=trial&kind=report&kind=study", event.id) as stream:
            assert stream.until(has_ended) == told[place + 1 :]
    with listening(house.client, EVENTS, told[-1].id) as stream:  # nothing was missed: the study as it is
        assert stream.next("study").data["state"] == "completed"


@pytest.mark.both_databases
def test_the_stream_of_all_has_every_study_and_a_filtered_one_its_part(house: Running, worker: ScriptedWorker) -> None:
    for name in ("s1", "s2"):
        house.started(worker, name, budget={"trials": 2})
        worker.drain()
    with listening(house.client, "/v1/events?last_event_id=0&kind=report&kind=study") as stream:
        told = stream.until(lambda event: has_ended(event) and event.data["name"] == "s2")
    assert reported([event for event in told if event.data.get("study") == "s2"]) == evaluations(house.trials("s2"))
    assert {event.data.get("study") or event.data["name"] for event in told} == {"s1", "s2"}
    with listening(house.client, f"{EVENTS}?last_event_id=0&trial=1") as stream:
        told = stream.until(has_ended)
    assert {event.data["number"] for event in told if event.kind != "study"} == {1}
    assert reported(told) == evaluations(house.trials()[1:])


def test_a_log_is_told_by_its_bytes(house: Running, worker: ScriptedWorker, prompt: None) -> None:
    house.started(worker, budget={"trials": 1})
    trial = worker.take()
    worker.report(trial, 1, 0.5, log="before\n")
    with listening(house.client, EVENTS) as stream:
        position = stream.next("study").id
        worker.report(trial, 2, 0.6, log="zwölf\n")
        first = stream.until(lambda event: event.kind == "log")[-1]
    assert first.data == {"study": "s1", "number": 0, "offset": 7, "end": 14, "text": "zwölf\n", "last": False}
    worker.finish(trial, log="the end")
    whole = "before\nzwölf\nthe end\n"
    for last, texts in (
        (first.id, ["the end\n"]),
        (position, ["zwölf\nthe end\n"]),
        ("0", ["before\nzwölf\nthe end\n"]),
    ):
        with listening(house.client, f"{EVENTS}?kind=log", last) as stream:
            told = stream.until(lambda event: bool(event.data["last"]))
        assert [event.data["text"] for event in told if not event.data["last"]] == texts
        assert told[-1].data["end"] == len(whole.encode())


@pytest.mark.both_databases
def test_a_trial_that_a_user_stops_or_deletes_is_told(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, parallel=1, budget={"trials": 5})
    worker.train(worker.take())
    worker.finish(worker.take(), "released")
    with listening(house.client, f"{EVENTS}?kind=trial&kind=study") as stream:
        stream.next("study")
        assert house.client.post("/v1/studies/s1/trials/1/stop").status_code == 200
        told = stream.next("trial").data
        assert (told["number"], told["state"], told["reason"]) == (1, "cancelled", "stopped")
        assert stream.next("study").data["counts"]["cancelled"] == 1
        assert house.client.delete("/v1/studies/s1/trials/1").status_code == 204
        assert stream.next("trial").data == {"study": "s1", "number": 1, "deleted": True}
        assert stream.next("study").data["counts"]["cancelled"] == 0
        a = worker.take()
        assert stream.next("trial").data["state"] == "running"
        assert stream.next("study").data["counts"]["running"] == 1
        assert house.client.post(f"/v1/studies/s1/trials/{a.number}/stop").status_code == 200
        assert stream.next("trial").data["stopping"] is True


def test_a_deleted_study_ends_its_stream(house: Running) -> None:
    house.create()
    house.create("s2")
    house.client.post("/v1/studies/s1/cancel")
    with listening(house.client, EVENTS) as stream, listening(house.client, "/v1/events") as all_studies:
        stream.next("study")
        assert house.client.delete("/v1/studies/s1").status_code == 204
        gone = list(stream)
        assert gone[-1].data == all_studies.next("study").data == {"name": "s1", "deleted": True}
    problem(house.client.get(EVENTS, headers={"Last-Event-ID": gone[-1].id}), 404)
    with listening(house.client, "/v1/events?last_event_id=0") as stream:
        assert {event.data["name"] for event in stream.until(lambda e: "deleted" in e.data)} == {"s1", "s2"}


def test_an_id_that_no_event_has_is_refused_or_told(house: Running, worker: ScriptedWorker) -> None:
    house.started(worker, budget={"trials": 1})
    for id in ("x", "-1", "1.5", "01", "9" * 30, "1;2", "1;2:3:4", "\u0661"):
        body = problem(house.client.get(f"{EVENTS}?last_event_id={id}"), 422)
        assert "id of an event" in body["detail"]
        assert body["errors"][0]["path"] == "last_event_id"
    problem(house.client.get(f"{EVENTS}?kind=trials"), 422)
    worker.drain()
    feed = house.app.state.service.feed
    feed.log.kept = 3
    feed.log.prune()
    with house.core.database.reading() as session:
        newest = feed.log.last_id(session)
        assert [row.id for row in feed.log.read(session, 0, newest, 99)] == [newest - 2, newest - 1, newest]
    for id, why in ((newest - 4, "not kept any more"), (newest + 1, "has not given")):
        with listening(house.client, EVENTS, str(id)) as stream:
            assert why in stream.next("reset").data["reason"]
            assert stream.next("study").data["state"] == "completed"
    with listening(house.client, EVENTS, str(newest - 3)) as stream:
        assert stream.next("study").id == str(newest)


def test_a_long_line_is_cut_between_characters(house: Running) -> None:
    house.core.store.append_log(1, 1, "zwölf\nß" * 3)
    whole, read = "zwölf\nßzwölf\nßzwölf\nß\n".encode(), b""
    while part := house.core.store.read_log_part(1, 1, len(read), 8):
        part.decode()
        read += part
    assert read == whole
    for most in (1, 2, 3):
        assert len(house.core.store.read_log_part(1, 1, 7, most)) <= most


def test_streams_ask_for_the_token_or_the_login(tmp_path: Path) -> None:
    with running(tmp_path, None, TOKENS) as house:
        house.create()
        problem(house.anyone.get(EVENTS), 401)
        house.anyone.post("/login", data={"token": TOKENS.user})
        with listening(house.anyone, EVENTS) as stream:
            assert stream.next("study").data["name"] == "s1"
            headers = stream.answer.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache", "no")
        assert house.client.head(EVENTS).status_code == 200


@pytest.mark.full
@pytest.mark.both_databases
def test_the_client_goes_on_over_streams_that_end(database_url: str, tmp_path: Path, prompt: None) -> None:
    short = Timings(scheduler_seconds=3600.0, event_look_seconds=0.02, event_stream_seconds=0.05)
    with running(tmp_path, database_url, timings=short) as house, Client(house.url) as client:
        worker = house.worker()
        house.started(worker, budget={"trials": 3})
        followed = threading.Thread(target=worker.drain)
        events: list[Event] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("luthier.service.api.event_stream.RETRY_MILLISECONDS", 10)
            for event in client.events("s1"):
                events.append(event)
                if len(events) == 1:
                    followed.start()
        followed.join()
        again = asyncio.run(_all_of(house.url))
    for told in (events, again):
        reports = [event.data for event in told if isinstance(event.data, ReportEvent)]
        steps = sorted((r.number, r.step, r.metrics["accuracy"]) for r in reports)
        assert steps == evaluations([view.model_dump() for view in _trials(events)])
        assert told[-1].kind in ("study", "log")
    assert next(event.data for event in reversed(events) if event.kind == "study").state is StudyState.COMPLETED


def _trials(events: list[Event]) -> list[TrialEvent]:
    """Return the trials as the events say that they have ended."""
    last = {event.data.number: event.data for event in events if isinstance(event.data, TrialEvent)}
    return [last[number] for number in sorted(last)]


async def _all_of(url: str) -> list[Event]:
    async with AsyncClient(url) as client:
        return [event async for event in client.events("s1", last_event_id="0")]


def test_the_client_says_what_it_cannot_follow(house: Running) -> None:
    with Client(house.url) as client:
        with pytest.raises(ServiceError, match="no study named none"):
            next(client.events("none"))
        with pytest.raises(ServiceError, match="id of an event"):
            next(client.events(last_event_id="x"))


def test_parts_of_a_stream_may_be_cut_anywhere() -> None:
    data = '{"study":"s","number":3,"offset":0,"end":9,"text":"\u2028é\\n","last":false}'
    stream = (
        f": ping\n\nid: 7\nretry: 20\n\nevent: log\r\ndata: {data}\r\nid: 8\r\n\r\nevent: new\ndata: {{}}\n\n".encode()
    )
    for size in (1, 2, 3, 1000):
        following = Following(None, None, (), None)
        parts = [stream[at : at + size] for at in range(0, len(stream), size)]
        events = [event for part in parts for event in following.read(part)]
        assert [(event.kind, event.id) for event in events] == [("log", "8")]
        assert isinstance(events[0].data, LogEvent)
        assert events[0].data.text == "\u2028é\n"
        assert following.pause_seconds == 0.02


@pytest.mark.full
@pytest.mark.both_databases
@pytest.mark.parametrize("services", [1, 2])
def test_a_stream_misses_nothing_when_its_service_is_killed(database_url: str, tmp_path: Path, services: int) -> None:
    told: list[Event] = []
    with processes(tmp_path / "home", database_url, services) as served, Client(served[0].url) as client:
        create(served[-1].url, budget={"trials": 6}, parallel=3)
        together = Together([service.url for service in served], 3)
        with together:
            kills = iter((3, 12))
            limit = next(kills)
            for event in client.events("s1", last_event_id="0", kinds=("trial", "report", "study")):
                told.append(event)
                if len(told) > limit:
                    served[0].kill()
                    served[0].start()
                    limit = next(kills, 10**6)
            together.leave()
        trials = [trial.model_dump() for trial in client.trials("s1")]
    events = [Told(event.kind, event.id, event.data.model_dump()) for event in told]
    assert reported(events) == evaluations(trials)
    assert len(trials) == 6
    assert limit == 10**6, "it was killed twice"
    ids = [event.id for event in events if event.kind in ("trial", "report")]
    assert len(set(ids)) == len(ids)


@pytest.mark.locks
def test_a_second_service_tells_what_the_first_one_changes(database_url: str, tmp_path: Path) -> None:
    with running(tmp_path / "a", database_url) as first, running(tmp_path / "b", database_url) as second:
        worker = first.worker()
        first.started(worker, budget={"trials": 1}, space={"learning_rate": 1e-4, "epochs": 3})
        with listening(second.client, f"{EVENTS}?kind=report") as stream:
            work = worker.take()
            worker.train(work)
            assert [stream.next("report").data["step"] for _ in range(3)] == [1, 2, 3]


def test_a_study_of_many_trials_is_read_in_pages(house: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.service.api.event_feed.PAGE", 50)
    add_study(house, "s1", 200)
    with listening(house.client, f"{EVENTS}?last_event_id=0&kind=trial&kind=study") as stream:
        told = stream.until(has_ended)
    assert sorted(event.data["number"] for event in told if event.kind == "trial") == list(range(200))
