"""The commands that speak to a service, against a real one; a few lines of protocol stand in for a worker."""

import csv
import io
import json
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import yaml

from luthier.service.cli.follow import Lines, ProgressEstimate, Snapshot, done, follow
from luthier.service.cli.progress import results
from luthier.service.cli.stages import OPENING, PLANS, stage_of
from luthier.service.client import Client, ServiceError
from luthier.service.schemas import StudyView
from luthier.service.server.embedded import Embedded
from luthier.service.settings import Settings
from tests.support.command_line import SPEC, Luthier
from tests.support.play import MODEL, packed, play

SCORES = [[0.6, 0.61], [0.7, 0.8123], [0.5, 0.55]]


@pytest.fixture(scope="module")
def ended(service: Embedded) -> StudyView:
    """The study `one`, run to its end: three trials, of which number 1 is the best."""
    with Client(service.url, service.token) as client:
        client.create(SPEC.format(name="one") + "pruner: {name: none}\nevaluations_per_epoch: 2\n")
        play(service, SCORES, packed(MODEL))
        return client.get("one")


def test_a_study_is_created_once_listed_and_shown(served: Luthier, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.format(name="two"))
    first = served("create", "-f", "spec.yaml", "-o", "json")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["state"] == "queued"
    again = served("create", "-f", "-", "-o", "yaml", stdin=SPEC.format(name="two"))
    assert yaml.safe_load(again.stdout)["created_at"] == json.loads(first.stdout)["created_at"]
    assert "two" in [study["name"] for study in json.loads(served("list", "-o", "json").stdout)]
    shown = served("get", "two").stdout
    assert "two" in shown
    assert "queued" in shown
    assert "0/3 trials done" in shown


def test_a_spec_is_an_argument_or_a_file(served: Luthier, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.format(name="eight"))
    (tmp_path / "other.yaml").write_text(SPEC.format(name="nine"))
    shown = [served("create", *given, "-o", "json").stdout for given in (["spec.yaml"], ["-f", "spec.yaml"])]
    assert shown[0] == shown[1]
    assert json.loads(shown[0])["name"] == "eight"
    both = served("create", "spec.yaml", "-f", "other.yaml")
    assert (both.returncode, "Two specs were given" in both.stderr) == (2, True)
    neither = served("create")
    assert (neither.returncode, "Name the spec's file" in neither.stderr) == (2, True)


def test_a_configuration_is_enqueued_before_the_inspection_is_over(luthier: Luthier, tmp_path: Path) -> None:
    with Embedded(Settings(home=tmp_path / "home"), study="ten", fleet="none") as service:
        given = {"LUTHIER_SERVER": service.url, "LUTHIER_TOKEN": service.token}
        with Client(service.url, service.token) as client:
            client.create(SPEC.format(name="ten"))
        asked = ("enqueue", "ten", "learning_rate=2e-5", "--key", "mine", "-o", "json")
        done, again = (luthier(*asked, **given) for _ in range(2))
        assert done.returncode == 0, done.stderr
        trial = json.loads(done.stdout)
        assert (trial["number"], trial["state"], trial["params"]) == (1, "queued", {"learning_rate": 2e-5})
        assert again.stdout == done.stdout, "the same key is the same trial"
        play(service, [[0.5]], b"", 2)  # the inspection, and the baseline
        with Client(service.url, service.token) as client:
            params = client.trial("ten", 1).params
        assert params["learning_rate"] == 2e-5
        assert params["batch_size"] in (8, 16)
        for wrong, said in (("batch_size", "KEY=VALUE"), ("batch_size=9", "params.batch_size: ")):
            refused = luthier("enqueue", "ten", wrong, **given)
            assert (refused.returncode, said in refused.stderr) == (2, True)


def test_a_plot_is_written_as_a_page_or_as_data(served: Luthier, ended: StudyView, tmp_path: Path) -> None:
    assert served("plot", "one", "history").stdout.strip() == "one-history.html"
    page = (tmp_path / "one-history.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "https://" not in page.partition("<script>")[0], "it needs no network"
    assert served("plot", "one", "timeline", "-o", "t.json").returncode == 0
    assert json.loads((tmp_path / "t.json").read_text())["data"]
    wrong = served("plot", "one", "history", "-o", "x.pdf")
    assert (wrong.returncode, ".html, .png or .json" in wrong.stderr) == (2, True)
    assert served("plot", "one", "pie").returncode == 2


def test_the_fleet_and_the_page(served: Luthier, service: Embedded, ended: StudyView, tmp_path: Path) -> None:
    (worker,) = json.loads(served("fleet", "-o", "json").stdout)
    assert (worker["name"], worker["state"]) == ("player", "idle")
    assert "player" in served("fleet").stdout
    opened = served("open", "one", BROWSER="true")
    assert (opened.returncode, opened.stdout.strip()) == (0, f"{service.url}/studies/one")
    client = httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {service.token}"})
    with client:
        assert "<h1>one</h1>" in client.get("/studies/one").text
    missing = served("open", "onne", BROWSER="true")
    assert (missing.returncode, "Did you mean one?" in missing.stderr) == (1, True)


def test_another_spec_under_a_taken_name_exits_1(served: Luthier) -> None:
    served("create", "-f", "-", stdin=SPEC.format(name="three"))
    done = served("create", "-f", "-", stdin=SPEC.format(name="three") + "seed: 7\n")
    assert done.returncode == 1
    assert "taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_service_refuses_a_bad_spec_with_its_paths_and_exit_2(served: Luthier) -> None:
    done = served("create", "-f", "-", stdin=SPEC.format(name="Bad Name").replace("trials: 3", "trials: 0"))
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert any(line.startswith("name: ") for line in lines)
    assert any(line.startswith("budget.trials: ") for line in lines)


def test_an_unknown_study_and_a_wrong_token_exit_1(served: Luthier) -> None:
    missing = served("get", "nobody")
    assert missing.returncode == 1
    assert "nobody" in missing.stderr
    locked = served("list", LUTHIER_TOKEN="not-the-token-of-this-service")
    assert locked.returncode == 1
    assert "refuses this token" in locked.stderr
    assert "LUTHIER_TOKEN" in locked.stderr
    unsent = served("list", LUTHIER_TOKEN="")
    assert (unsent.returncode, "none was sent" in unsent.stderr) == (1, True)


def test_a_study_is_paused_resumed_cancelled_and_deleted(luthier: Luthier, tmp_path: Path) -> None:
    with Embedded(Settings(home=tmp_path / "home"), study="four", fleet="none") as service:
        given = {"LUTHIER_SERVER": service.url, "LUTHIER_TOKEN": service.token}
        assert luthier("create", "-f", "-", stdin=SPEC.format(name="four"), **given).returncode == 0
        assert luthier("delete", "four", **given).returncode == 1
        play(service, [], b"", pieces=1)  # the inspection: now it runs
        for verb, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
            answer = luthier(verb, "four", "-o", "json", **given)
            assert answer.returncode == 0, answer.stderr
            assert json.loads(answer.stdout)["state"] == state
        assert luthier("cancel", "four", **given).returncode == 1
        waited = luthier("wait", "four", **given)
        assert waited.returncode == 1
        assert "four is cancelled" in waited.stderr
        assert luthier("delete", "four", **given).returncode == 0
        assert luthier("get", "four", **given).returncode == 1


def test_wait_and_watch_tell_of_the_end(served: Luthier, ended: StudyView) -> None:
    waited = served("wait", "one", "-o", "json")
    assert waited.returncode == 0, waited.stderr
    assert json.loads(waited.stdout) == ended.model_dump(mode="json")
    lines = served("watch", "one").stdout.splitlines()
    assert "trial 1 complete, 0.8123 in 0:02" in lines
    assert "3/3 trials done, 0 running, 0 pruned, 0 failed; best 0.8123 (trial 1)" in lines
    assert lines[-1] == "one is completed"


def test_best_shows_the_winner_its_baseline_and_its_test_score(served: Luthier, ended: StudyView) -> None:
    assert json.loads(served("best", "one", "-o", "json").stdout)["trial"] == 1
    shown = served("best", "one").stdout
    assert "accuracy 0.8123 (trial 1)" in shown
    assert "accuracy 0.6100 (trial 0)" in shown
    assert "0.7500" in shown
    assert "accuracy 0.5000 by always answering 'no'; test: accuracy 0.5100" in shown
    assert "verdict" not in shown
    served("create", "-f", "-", stdin=SPEC.format(name="five"))
    assert served("best", "five").returncode == 1


def test_trials_logs_and_export(served: Luthier, ended: StudyView) -> None:
    trials = json.loads(served("trials", "one", "-o", "json").stdout)
    assert [(t["number"], t["value"]) for t in trials] == [(0, 0.61), (1, 0.8123), (2, 0.55)]
    assert json.loads(served("trials", "one", "--state", "pruned", "-o", "json").stdout) == []
    assert served("trials", "one", "--state", "asleep").returncode == 2
    assert "step 2: 0.8123" in served("logs", "one", "1").stdout
    rows = list(csv.DictReader(io.StringIO(served("export", "one").stdout)))
    assert [row["value"] for row in rows] == ["0.61", "0.8123", "0.55"]
    assert float(rows[1]["params.learning_rate"]) == trials[1]["params"]["learning_rate"]
    assert rows[1]["last.accuracy"] == "0.8123"
    assert rows[1]["steps"] == "2"
    lines = served("export", "one", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == trials


def test_answers_are_rows_names_or_scores_for_other_programs(served: Luthier, ended: StudyView) -> None:
    assert served("best", "one", "-o", "value").stdout == "0.8123\n"
    assert served("get", "one", "-o", "value").stdout == "0.8123\n"
    assert served("trials", "one", "-o", "value").stdout.split() == ["0.61", "0.8123", "0.55"]
    assert served("trials", "one", "-o", "name").stdout.split() == ["0", "1", "2"]
    assert served("trials", "one", "-o", "csv").stdout == served("export", "one").stdout
    assert "one" in served("list", "-o", "name").stdout.split()
    (row,) = csv.DictReader(io.StringIO(served("get", "one", "-o", "csv").stdout))
    assert (row["name"], row["spec.budget.trials"], row["best.value"]) == ("one", "3", "0.8123")
    head, line = served("get", "one", "-o", "tsv").stdout.splitlines()
    assert dict(zip(head.split("\t"), line.split("\t"), strict=True))["best.test.accuracy"] == "0.75"
    assert served("fleet", "-o", "name").stdout == "player\n"
    none = served("fleet", "-o", "value")
    assert (none.returncode, "has no scores" in none.stderr) == (2, True)


def test_the_model_comes_down_whole(served: Luthier, ended: StudyView, tmp_path: Path) -> None:
    done = served("model", "one", "-o", "winners/one")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "winners" / "one"
    assert {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == MODEL
    assert [p.name for p in folder.parent.iterdir()] == ["one"]  # nothing half-done beside it
    again = served("model", "one", "-o", "winners/one")
    assert again.returncode == 2
    assert "not an empty directory" in again.stderr


def test_every_page_of_a_list_is_read(service: Embedded, ended: StudyView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.service.client.transport.PAGE", 2)
    with Client(service.url, service.token) as client:
        assert [trial.number for trial in client.trials("one")] == [0, 1, 2]
        assert next(client.tasks()).hyperparameters["learning_rate"].default == 5e-5
        assert [worker.name for worker in client.workers()] == ["player"]


def test_a_configuration_outside_the_space_is_refused_with_its_path(service: Embedded) -> None:
    with Client(service.url, service.token) as client:
        client.create(SPEC.format(name="six"))
        with pytest.raises(ServiceError) as refused:
            client.enqueue("one", {"learning_rate": 1.0, "batch_size": 8})
    assert refused.value.status in (409, 422)


def test_following_tells_each_trial_once_and_outlives_a_service_that_is_away(
    service: Embedded, ended: StudyView, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(service.url, service.token) as client:
        answer, away = client.get, iter([True, True, False])

        def get(name: str) -> StudyView:
            if next(away, False):
                raise ServiceError(503, "Unavailable", "The database does not answer; try again shortly.")
            return answer(name)

        monkeypatch.setattr(client, "get", get)
        snapshots = list(follow(client, "one", interval_seconds=0))
    assert [[trial.number for trial in s.ended] for s in snapshots] == [[0, 1, 2]]
    assert done(snapshots[0].study) == 3


def test_the_counts_are_never_behind_the_trials_that_are_told(luthier: Luthier, tmp_path: Path) -> None:
    with (
        Embedded(Settings(home=tmp_path / "home"), study="seven", fleet="none") as service,
        Client(service.url, service.token) as client,
    ):
        client.create(SPEC.format(name="seven") + "pruner: {name: none}\n")
        play(service, [], b"", pieces=1)  # the inspection
        snapshots, lines = follow(client, "seven", interval_seconds=0), Lines()
        told = [list(lines.of(next(snapshots)))]
        look = client.get

        def get(name: str) -> StudyView:
            """Answer, and have a trial end right after."""
            view = look(name)
            play(service, [[0.6], [0.7], [0.8]], packed(MODEL), pieces=1)
            return view

        client.get = get  # type: ignore[method-assign]
        told += [list(lines.of(snapshot)) for snapshot in snapshots]
    for said in told[1:]:
        ended = [line for line in said if line.startswith("trial ")]
        counts = [line for line in said if "trials done" in line]
        assert not ended or int(counts[0][0]) >= int(ended[-1].split()[1]) + 1
    everything = [line for said in told for line in said]
    assert [line.split()[1] for line in everything if line.startswith("trial ")] == ["0", "1", "2"]
    assert everything[-1] == "seven is completed"


def test_a_wait_says_its_stage(service: Embedded) -> None:
    with Client(service.url, service.token) as client:
        (worker,) = client.workers()
    assert stage_of([], "a") == "a worker starts"
    assert stage_of([worker.model_copy(update={"state": "away"})], "a") == "a worker starts"
    assert stage_of([worker.model_copy(update={"state": "busy", "study": "b"})], "a").startswith("the workers are busy")
    assert stage_of([worker.model_copy(update={"state": "idle"})], "a").startswith("a worker is there")
    for study, asked in (("a", "a"), ("plan:0f", PLANS)):
        assert stage_of([worker.model_copy(update={"state": "busy", "study": study})], asked) == OPENING


def test_the_time_left_is_the_mean_of_what_has_ended(service: Embedded, ended: StudyView) -> None:
    with Client(service.url, service.token) as client:
        trials = list(client.trials("one"))
    under_way = ended.model_copy(update={"state": "running", "counts": ended.counts.model_copy(update={"complete": 2})})
    snapshot = Snapshot(under_way, [], trials[:2])
    tally = ProgressEstimate()
    assert tally.seconds_left(snapshot, ended.created_at) is None
    tally.add(snapshot)
    assert tally.seconds_left(snapshot, ended.created_at) == pytest.approx(1.5)  # one trial of 1.5 s is left


def test_the_wall_clock_counts_from_the_first_trial(service: Embedded, ended: StudyView) -> None:
    with Client(service.url, service.token) as client:
        trials = list(client.trials("one"))
    began = ended.created_at + timedelta(seconds=100)  # the study waited for a worker
    spec = ended.spec | {"budget": ended.spec["budget"] | {"trials": None, "wall_clock_seconds": 60.0}}
    under_way = ended.model_copy(update={"state": "running", "spec": spec})
    starts = [began + timedelta(seconds=2), began, None]
    seen = [t.model_copy(update={"started_at": at}) for t, at in zip(trials, starts, strict=True)]
    snapshot, tally = Snapshot(under_way, seen[2:], seen[:2]), ProgressEstimate()
    tally.add(snapshot)
    assert tally.seconds_left(snapshot, began + timedelta(seconds=20)) == pytest.approx(40)


def test_a_baseline_of_zero_is_shown(ended: StudyView) -> None:
    assert ended.best is not None
    assert ended.baseline is not None
    study = ended.model_copy(update={"baseline": ended.baseline.model_copy(update={"value": 0.0})})
    (table,) = results(study, [], None)
    told = [str(cell) for column in table.columns for cell in column.cells]
    assert any(f"(baseline, trial 0: 0.0000, {ended.best.value:+.4f})" in text for text in told)


def test_a_winner_that_is_no_better_than_the_majority(ended: StudyView) -> None:
    assert ended.majority is not None
    majority = ended.majority.model_copy(update={"metrics": {"accuracy": 0.9}, "value": 0.9})
    (table,) = results(ended.model_copy(update={"majority": majority}), [], None)
    told = [str(cell) for column in table.columns for cell in column.cells]
    assert "accuracy 0.9000 by always answering 'no'; test: accuracy 0.5100" in told
    assert any(text.startswith("The winner is no better than always answering 'no': on validation") for text in told)
    (without,) = results(ended.model_copy(update={"majority": None}), [], None)
    assert "majority" not in [str(cell) for column in without.columns for cell in column.cells]
