"""What trackers are told of a study: all of it, in order, once; and one that fails harms nobody."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier import Client, ServiceError
from luthier.service.cli.connect import CommandError
from luthier.service.cli.tracked import Tracked, check_trackers
from luthier.service.client import Event
from luthier.service.schemas.events import ResetEvent
from luthier.service.trackers import kinds
from luthier.service.trackers.audience import Audience
from luthier.service.trackers.follow import track
from tests.support.harness import Running, ScriptedWorker
from tests.support.recording_tracker import RecordingTracker


@pytest.fixture
def client(house: Running) -> Iterator[Client]:
    with Client(house.url) as client:
        yield client


def told(client: Client, *trackers: RecordingTracker, with_model: bool = False) -> list[str]:
    """Tell trackers of the study s1, and return the complaints."""
    complaints: list[str] = []
    audience = Audience({f"t{number}": tracker for number, tracker in enumerate(trackers)}, "s1", complaints.append)
    track(client, "s1", audience, with_model)
    return complaints


def check_whole(tracker: RecordingTracker, house: Running) -> None:
    """Check that a tracker was told what the service says, each thing once and in order."""
    trials = house.trials()
    assert [number for number, _ in sorted(tracker.of("begin_trial"))] == [trial["number"] for trial in trials]
    ended = dict(tracker.of("end_trial"))
    assert len(tracker.of("end_trial")) == len(trials)
    steps = [(trial["number"], step["step"], step["metrics"]) for trial in trials for step in trial["values"]]
    assert sorted(tracker.of("report"), key=lambda said: said[:2]) == steps
    for trial in trials:
        assert ended[trial["number"]].model_dump(mode="json")["value"] == trial["value"]
        messages = [
            said[0] for said in tracker.told if said[0].endswith(("trial", "report")) and said[1] == trial["number"]
        ]
        assert messages == ["begin_trial", *["report"] * len(trial["values"]), "end_trial"]
    assert tracker.told[0][0] == "begin"
    assert [said[0] for said in tracker.told[-2:]] == ["end", "close"]
    [(study, _)] = tracker.of("end")
    assert study.best.model_dump(mode="json") == house.study()["best"]


@pytest.mark.full
def test_a_study_is_told_while_it_runs_and_again_afterwards(
    house: Running, worker: ScriptedWorker, client: Client
) -> None:
    house.started(worker, budget={"trials": 4})
    worker.train(worker.take())
    trial = worker.take()
    worker.report(trial, 1, 0.5)
    live, goes_on = RecordingTracker(), threading.Event()
    report = live.report

    def noticed(number: int, step: int, metrics: dict[str, float | None], at: object) -> None:
        report(number, step, metrics, at)  # type: ignore[arg-type]
        if number == 1:
            goes_on.set()

    live.report = noticed  # type: ignore[method-assign, assignment]
    others = threading.Thread(target=lambda: (goes_on.wait(30), worker.finish(trial), worker.drain()))
    others.start()
    assert told(client, live) == []
    others.join()
    check_whole(live, house)
    assert len(live.of("progress")) > 1
    assert live.of("end")[0][1] is None
    later = RecordingTracker()
    assert told(client, later, with_model=True) == []
    check_whole(later, house)
    assert later.of("end")[0][1]  # the files of the winner's model


def test_how_trials_end_is_told_and_what_waits_is_not(house: Running, worker: ScriptedWorker, client: Client) -> None:
    house.started(worker, budget={"trials": 3})
    worker.finish(worker.take(), "failed", reason="oom", problem={"message": "Too large."})
    worker.train(worker.take())
    worker.take()
    house.client.post("/v1/studies/s1/trials", json={"params": {"epochs": 1}})
    house.client.post("/v1/studies/s1/cancel")
    tracker = RecordingTracker()
    told(client, tracker)
    check_whole(tracker, house)
    ended = {number: (trial.state, trial.reason, trial.error) for number, trial in tracker.of("end_trial")}
    assert ended[0] == ("failed", "oom", "Too large.")
    assert ended[1][0] == "complete"
    assert ended[2][0] == "cancelled"
    assert tracker.of("end")[0][0].state == "cancelled"


def test_a_tracker_that_fails_is_left_and_told_of_without_its_address(
    house: Running, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.finished(budget={"trials": 2})
    monkeypatch.setenv("RECORDER_URI", "https://me:pass-word@tracker.example:5000/base")
    monkeypatch.setenv("RECORDER_KEY", "k-123456")
    secrets = "HTTPConnectionPool(host='tracker.example'): https://me:pass-word@tracker.example:5000/base/x k-123456"
    for message in ("begin", "report", "end_trial", "end"):
        failing, other = RecordingTracker(message, ConnectionError(secrets)), RecordingTracker()
        [complaint] = told(client, failing, other)
        check_whole(other, house)
        assert complaint.startswith("Recorder is told no more of s1: ")
        assert "`luthier track s1 --to t0`" in complaint
        assert not any(secret in complaint for secret in ("tracker.example", "pass-word", "k-123456"))
        assert ("close",) in failing.told
    alone = RecordingTracker("begin_trial")
    assert len(told(client, alone)) == 1
    assert alone.of("report") == []  # nobody listens: the stream is left


def test_missed_events_are_read_again(
    house: Running, worker: ScriptedWorker, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.started(worker, budget={"trials": 2})
    first = client.get("s1")
    worker.drain()
    reset = Event("reset", "1", ResetEvent(reason="They are gone."))
    ended = Event("study", "2", client.get("s1"))
    monkeypatch.setattr(client, "events", lambda *_, **__: iter([Event("study", "0", first), reset, ended]))
    tracker = RecordingTracker()
    told(client, tracker)
    check_whole(tracker, house)


def test_a_deleted_or_unknown_study_ends_in_a_sentence(house: Running, client: Client) -> None:
    tracker = RecordingTracker()
    with pytest.raises(ServiceError, match="no study named s1"):
        told(client, tracker)
    assert tracker.told == [("close",)]


def test_what_is_missing_is_said_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="no tracker 'neptune'; there are mlflow, wandb, tensorboard, trackio"):
        check_trackers(["neptune"])
    monkeypatch.setattr(kinds, "find_spec", lambda _: None)
    with pytest.raises(CommandError, match=r"pip install 'luthier\[mlflow\]'"):
        check_trackers(["mlflow"])


def test_a_tracker_beside_a_run_may_fail_or_be_interrupted(
    house: Running, client: Client, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    house.finished(budget={"trials": 1})
    with Tracked(["neptune"], house.url, None) as tracked:  # a process that can open no tracker
        tracked.start("s1")
    assert capsys.readouterr().err.startswith("neptune was not told all of s1: There is no tracker 'neptune'")
    with pytest.raises(KeyboardInterrupt), Tracked(["neptune"], house.url, None) as tracked:
        tracked.start("s1")
        raise KeyboardInterrupt
    assert all(process.poll() is not None for process in tracked._processes.values())
