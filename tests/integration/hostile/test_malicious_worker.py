"""A malicious worker, with a true worker token, harms its own trial only: a study beside it ends as it does alone."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.service.client import Client, DownloadError
from luthier.service.server.app import Tokens
from luthier.service.storage.presence import LISTED_SECONDS
from luthier.studies.protocol import AssignmentKind
from tests.support.evil_worker import ATTACKS, HTML, Evil
from tests.support.harness import Running, ScriptedWorker, running
from tests.support.scripted_worker import archive
from tests.support.tiers import a_few

USER, WORKER = "user-token-0123456789", "worker-token-0123456789"
CHANGES = {"budget": {"trials": 6}, "parallel": 1, "sampler": {"name": "tpe"}}
PAGES = ("/", "/workers", "/studies/bad", "/studies/bad/trials/0", "/v1/studies/bad/report")


@pytest.fixture
def guarded(database_url: str, tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "home", database_url, Tokens(USER, WORKER)) as house:
        yield house


@pytest.fixture
def evil(guarded: Running) -> Iterator[Evil]:
    worker = Evil(guarded.url, WORKER)
    yield worker
    worker.client.close()


def told(house: Running, name: str) -> list[Any]:
    """What a user wants of a study: every trial's configuration, scores and end, the winner and its test scores."""
    study = house.study(name)
    trials = [[trial[key] for key in ("number", "state", "params", "value", "values")] for trial in house.trials(name)]
    for trial in trials:
        trial[-1] = [(report["step"], report["metrics"]) for report in trial[-1]]
    return [study["state"], study["best"]["trial"], study["best"]["test"], study["counts"], trials]


@pytest.mark.full
@pytest.mark.both_databases
def test_a_study_beside_a_malicious_worker_ends_as_alone(guarded: Running, evil: Evil, tmp_path: Path) -> None:
    with running(tmp_path / "alone", None) as alone:
        alone.finished("honest", **CHANGES)
        expected = told(alone, "honest")
    guarded.create("bad", budget={"trials": 1}, parallel=1)
    evil.inspect(evil.take(AssignmentKind.INSPECT))
    a = evil.take()
    honest: ScriptedWorker = guarded.worker()
    guarded.started(honest, "honest", **CHANGES)
    b = honest.take()
    for attack in ATTACKS:
        attack(evil, a, b)
        honest.renew(b)
    bad = guarded.trials("bad")[0]
    assert (bad["state"], bad["reason"]) == ("queued", None), "another worker tries it before its failure counts"
    assert [report["metrics"]["accuracy"] for report in bad["values"]] == [0.1, None, None], "what came first stays"
    assert guarded.study("bad")["gpu_seconds"] < 120
    honest.train(b)
    honest.drain()
    assert told(guarded, "honest") == expected
    for path in PAGES:
        page = guarded.client.get(path, headers={"Accept": "text/html"})
        assert page.status_code == 200, path
        assert HTML not in page.text
        assert len(page.content) < 2**23
    assert "&lt;script&gt;" in guarded.client.get("/studies/bad").text


def member(name: str, kind: bytes, link: str) -> bytes:
    """Return a .tar.gz with a model's text, and one member that is no file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        entry = tarfile.TarInfo("luthier.json")
        entry.size = 2
        tar.addfile(entry, io.BytesIO(b"{}"))
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, link
        tar.addfile(entry)
    return packed.getvalue()


MODELS = {
    "a link": lambda: member("model.safetensors", tarfile.SYMTYPE, "/etc/passwd"),
    "a path that leads out": lambda: archive({"../../evil": b"evil"}),
    "a bomb": lambda: archive({"model.safetensors": bytes(300 * 2**20)}),
    "no archive": lambda: b"<html>" + HTML.encode(),
}


@pytest.mark.parametrize("kind", a_few(0, MODELS))
def test_a_packed_model_that_is_none_stays_packed(guarded: Running, evil: Evil, kind: str, tmp_path: Path) -> None:
    guarded.started(evil, "bad", budget={"trials": 1}, parallel=1)
    evil.train(evil.take())
    a = evil.take(AssignmentKind.EVALUATE)
    evil.finish(a, evaluation={"test": {"accuracy": 1.0}, "model": evil.write(a, "model.tar.gz", MODELS[kind]())})
    assert guarded.study("bad")["state"] == "completed"
    for path in (*PAGES, "/studies/bad/results", "/v1/studies/bad/bundle"):
        assert guarded.client.get(path).status_code in (200, 404, 409), path
    with Client(guarded.url, USER) as client, pytest.raises(DownloadError, match="archive"):
        client.download_model("bad", tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "evil").exists()


@pytest.mark.both_databases
def test_names_that_nobody_uses_any_more_are_forgotten(guarded: Running, evil: Evil) -> None:
    """Neither a day of workers that come and go nor a flood of made-up names stays in the database."""
    guarded.started(evil, "bad", budget={"trials": 1}, parallel=1)
    busy = evil.take()

    def listed() -> set[str]:
        return {worker["name"] for worker in guarded.get("/v1/workers?limit=500")["items"]}

    for number in range(12):
        evil.name = f"made-up-{number}"
        evil.claim()
    presence = guarded.core.presence
    presence.forget_workers()
    assert len(listed()) == 13
    presence.forget_workers(most=5)
    assert listed() == {"evil", *(f"made-up-{number}" for number in range(7, 12))}
    evil.name = "made-up-0"
    evil.claim()
    assert "made-up-0" in listed()
    guarded.move_clock(LISTED_SECONDS + 1)
    presence.forget_workers()
    guarded.move_clock(-LISTED_SECONDS - 1)
    assert listed() == {"evil"}, "who holds work is kept"
    evil.renew(busy)
