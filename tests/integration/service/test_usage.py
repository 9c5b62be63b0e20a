"""What the disk is used for, and what pruning removes of it: only what has ended and nobody needs, rows and files."""

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from luthier import Client
from luthier.service.cli import app
from luthier.service.cli.connect import CommandError
from luthier.service.dispatch import prune
from luthier.service.dispatch.orphans import LEAST_SECONDS, Orphans
from luthier.service.schemas.usage import USUAL, Prunable
from tests.support.harness import Running, ScriptedWorker, held, problem
from tests.support.killed_verb import exit_code_of
from tests.support.nightly import BETTER, Nightly
from tests.support.uploads import CSV, upload


def files(house: Running) -> dict[str, int]:
    """Return path -> bytes of each file in the folders of assignments and schedules."""
    root = house.core.store.root
    found = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(root).as_posix(): path.stat().st_size for path in found}


def on_disk(house: Running) -> int:
    """Return the bytes of all files of the store, each once, whatever names it has."""
    found = (path.stat() for path in house.core.store.root.rglob("*") if path.is_file() and path.name != ".mark")
    return sum({status.st_ino: status.st_size for status in found}.values())


def named_files_are_whole(house: Running) -> None:
    """Check that every file that REST names can be downloaded, and is whole."""
    for study in house.get("/v1/studies?limit=500")["items"]:
        if study["model"] is not None:
            assert house.client.get(study["model"]["url"]).headers["X-Content-SHA256"] == study["model"]["sha256"]
        for trial in house.trials(study["name"]):
            for file in trial["files"]:
                answer = house.client.get(file["url"]) if "url" in file else None
                assert answer is None or answer.is_success


@pytest.fixture
def client(house: Running) -> Iterator[Client]:
    with Client(house.url) as client:
        yield client


def used(house: Running, worker: ScriptedWorker, name: str = "s1") -> None:
    """Run a study to its end, have it predict and export, with a log each."""
    house.create(name)
    drain_with_logs(worker)
    house.client.post(f"/v1/studies/{name}/predict", content=b"text\na\n", headers={"Content-Type": "text/csv"})
    house.client.post(f"/v1/studies/{name}/onnx").raise_for_status()
    drain_with_logs(worker)


def drain_with_logs(worker: ScriptedWorker) -> None:
    while (a := worker.claim()) is not None:
        worker.post("renew", **held(a), log="a line\n")
        worker.work(a)


@pytest.mark.full
def test_usage_tells_every_byte_once_and_the_largest_first(
    house: Running, worker: ScriptedWorker, client: Client
) -> None:
    used(house, worker)
    house.finished("small", budget={"trials": 1})
    upload(house)
    (house.core.store.root / "77-78").mkdir()
    (house.core.store.root / "77-78" / "best").write_bytes(b"nobody's")
    view = client.usage()
    assert [study.name for study in view.studies] == ["s1", "small"]
    of_s1 = view.studies[0]
    parts = [of_s1.checkpoints, of_s1.model, of_s1.logs, of_s1.predictions, of_s1.onnx, of_s1.other]
    assert all(parts[:5])
    assert sum(parts) == of_s1.bytes
    assert sum(study.bytes for study in view.studies) + view.unnamed_bytes + view.datasets[0].bytes == view.store_bytes
    (number,) = house.core.store.root.glob("dataset-*/number")
    assert view.store_bytes == on_disk(house) - number.stat().st_size
    assert view.unnamed_bytes == len(b"nobody's")
    assert view.datasets[0].bytes == len(CSV)
    assert view.database_bytes > 10_000
    assert 0 < view.free_bytes < view.disk_bytes
    assert {cache.place for cache in view.caches} == {"memory", "disk"}
    one = client.usage(limit=1)
    assert (len(one.studies), one.more_studies, one.more_bytes) == (1, 1, view.studies[1].bytes)
    assert one.store_bytes == view.store_bytes


@pytest.mark.both_databases
def test_a_dry_run_says_what_pruning_then_frees(house: Running, worker: ScriptedWorker, client: Client) -> None:
    used(house, worker)
    unused, named = upload(house)["id"], upload(house, CSV + b"more,a\n")["id"]
    house.create("other", dataset={"source": f"dataset:{named}"})
    house.client.post("/v1/studies/other/cancel").raise_for_status()
    before, bytes_before, planned = files(house), on_disk(house), client.prune()
    assert files(house) == before, "a dry run changes nothing"
    done = client.prune(dry_run=False)
    assert done.model_copy(update={"dry_run": True}) == planned
    kinds = {item.kind for item in done.items}
    assert kinds == {Prunable.LOGS, Prunable.PREDICTIONS, Prunable.ONNX, Prunable.DATASETS}
    assert [item.dataset for item in done.items if item.dataset] == [unused]
    assert done.bytes == bytes_before - on_disk(house) - len("1"), "all but the file with the data set's number"
    assert house.client.get(f"/v1/datasets/{named}").is_success
    assert house.get("/v1/studies/s1/predictions")["items"] == []
    assert house.client.get("/v1/studies/s1/onnx").status_code == 404
    named_files_are_whole(house)
    assert client.prune(dry_run=False).items == [], "a second time there is nothing"


@pytest.mark.full
def test_a_winners_weights_go_where_they_are_not_to_be_kept_and_it_can_go_on(
    house: Running, worker: ScriptedWorker, client: Client
) -> None:
    house.finished("s1", budget={"trials": 2}, parallel=1)
    assert client.prune(["weights"], dry_run=False).items == [], "the winner's are needed"
    done = client.prune(["weights"], keep_winners=False, dry_run=False)
    assert [(item.kind, item.files) for item in done.items] == [(Prunable.WEIGHTS, 1)]
    assert done.bytes == done.items[0].bytes > 0
    named_files_are_whole(house)
    assert [path for path in files(house) if "best" in path or "resume" in path] == []
    house.client.post("/v1/studies/s1/extend", json={"budget": {"trials": 4}}).raise_for_status()
    worker.drain()
    worker.drain()
    study = house.study()
    assert (study["state"], study["counts"]["complete"]) == ("completed", 4)
    named_files_are_whole(house)


@pytest.mark.full
def test_what_is_needed_stays(
    house: Running, worker: ScriptedWorker, client: Client, nightly: Callable[..., Nightly]
) -> None:
    """A running study, one that another goes on from, one whose prediction waits, and those of a schedule."""
    every = nightly()
    every.worker.comparison = BETTER
    every.run("a")
    house.finished("source")
    house.finished("asked")
    house.client.post("/v1/studies/asked/predict", content=b"text\na\n", headers={"Content-Type": "text/csv"})
    house.create("successor", **{"from": {"study": "source", "import": "trials"}})
    house.create("running")
    before = files(house)
    kinds = [kind.value for kind in Prunable]
    done = client.prune(kinds, keep_winners=False, dry_run=False)
    assert {item.study for item in done.items if item.kind is not Prunable.LOGS} == set()
    assert {path for path in before.keys() - files(house).keys() if not path.endswith("log.txt")} == set()
    names = ["running", "source", "asked", every.runs()[0]["study"]]
    kept = {one.study: one.reason for one in client.prune(kinds, studies=names, keep_winners=False).kept}
    assert "it is queued" in kept["running"]
    assert "goes on from it" in kept["source"]
    assert "(predict) has not ended" in kept["asked"]
    assert "champion of the schedule nightly" in kept[names[3]]
    worker.drain()
    worker.drain()
    assert house.study("successor")["state"] == "completed"


@pytest.mark.full
def test_whole_studies_go_where_they_are_old_enough(house: Running, client: Client) -> None:
    house.finished("won", budget={"trials": 1})
    house.create("lost")
    house.client.post("/v1/studies/lost/cancel").raise_for_status()
    day = 86400.0
    assert client.prune(["studies"], older_than_seconds=day).items == []
    house.move_clock(2 * day)
    assert [item.study for item in client.prune(["studies"], day, dry_run=False).items] == ["lost"]
    assert "winners are kept" in client.prune(["studies"], day, ["won"]).kept[0].reason
    client.prune(["studies"], day, keep_winners=False, dry_run=False)
    assert house.get("/v1/studies")["items"] == []
    assert files(house) == {}


def test_wrong_wishes_are_refused_with_their_path(house_sqlite: Running) -> None:
    send = house_sqlite.client.post
    wrong: dict[str, Any] = {"kinds": ["models"], "older_than_seconds": -1, "studies": [], "more": 1}
    for key, value in wrong.items():
        answer = problem(send("/v1/prune", json={key: value}), 422)
        assert answer["errors"][0]["path"].startswith(key)
    assert "no study named gone" in problem(send("/v1/prune", json={"studies": ["gone"]}), 404)["detail"]
    assert problem(house_sqlite.client.get("/v1/usage?limit=0"), 422)["errors"][0]["path"] == "limit"


@pytest.mark.full
@pytest.mark.both_databases
@pytest.mark.parametrize("place", ["before the prune commits", "before pruned files go"])
def test_a_kill_in_the_middle_of_pruning_leaves_rows_and_files_consistent(
    house: Running, worker: ScriptedWorker, client: Client, place: str
) -> None:
    used(house, worker)
    before = files(house)
    settings = house.settings
    wish = prune.Wish(frozenset(USUAL), keep_winners=False)
    code = exit_code_of(settings.home, settings.sqlalchemy_url, place, "prune", wish)
    assert code == -signal.SIGKILL
    named_files_are_whole(house)
    assert files(house) == before
    now = [0.0]
    orphans = Orphans(house.core, clock=lambda: now[0])
    for _ in range(3):
        now[0] += LEAST_SECONDS
        orphans.sweep()
    named_files_are_whole(house)
    left = [path for path in files(house) if not path.endswith("log.txt")]
    assert (len(left) == 1) == (place == "before pruned files go"), "rows that forgot leave orphans, which are swept"
    client.prune(keep_winners=False, dry_run=False)
    assert len(files(house)) == 1


@pytest.mark.full
def test_the_page_shows_what_the_disk_is_used_for(house: Running) -> None:
    house.create()
    page = house.client.get("/usage").text
    assert "/studies/s1" in page
    assert "Database" in page


@pytest.mark.full
def test_the_commands_show_the_disk_and_free_it_after_a_question(house: Running, worker: ScriptedWorker) -> None:
    def run(*words: str) -> Result:
        return CliRunner().invoke(app, [*words], env={"LUTHIER_SERVER": house.url, "LUTHIER_TOKEN": ""})

    house.finished("s1", budget={"trials": 1})
    shown = run("usage").stdout
    assert "s1" in shown
    assert "checkpoints" in shown
    assert json.loads(run("usage", "-o", "json").stdout)["studies"][0]["name"] == "s1"
    words = ("prune", "--what", "studies", "--no-keep-winners")
    assert "studies" in run(*words, "--dry-run").stdout
    refused = run(*words)
    assert isinstance(refused.exception, CommandError)
    assert "add --yes" in str(refused.exception)
    assert "is no age" in str(run("prune", "--older-than", "soon").exception)
    assert house.study("s1")["model"] is not None
    assert "were freed" in run(*words, "--yes").stderr
    assert house.get("/v1/studies")["items"] == []
    assert "Nothing is to be removed" in run("prune", "--yes").stderr
