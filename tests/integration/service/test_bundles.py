"""A study as a bundle, over REST and by the client: what is in it, and what cannot be one."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from luthier.service.cli import app
from luthier.service.client import Client, DownloadError, ServiceError
from luthier.service.client.bundles import open_bundle
from luthier.studies.bundles import MANIFEST, REPETITIONS, BundleError, write_bundle
from tests.support import external
from tests.support.harness import INSPECTION, Running, problem

CONFIRMED: dict[str, Any] = {"budget": {"trials": 3}, "confirm": {"candidates": 2, "seeds": 2}}


@pytest.fixture(scope="module")
def ended(house_sqlite: Running) -> Running:
    """A service with the ended study `s1`."""
    house_sqlite.finished("s1", **CONFIRMED)
    return house_sqlite


@pytest.mark.full
def test_a_bundle_holds_the_study_and_every_value(ended: Running, tmp_path: Path) -> None:
    with Client(ended.url) as client:
        file = client.export_bundle("s1", tmp_path / "s1.zip")
        client.export_bundle("s1", str(tmp_path / "again.zip"))
    assert (tmp_path / "again.zip").read_bytes() == file.read_bytes()
    bundle = open_bundle(file)
    study, trials = ended.study(), ended.trials()
    assert bundle.study.model_dump(mode="json").items() >= (study | {"etag": None}).items()
    assert bundle.study.fingerprint == INSPECTION.fingerprint
    assert bundle.spec.semantics == study["spec"]["semantics"]
    for number, trial in enumerate(trials):
        own = bundle.trials[number].model_dump(mode="json")
        assert own == trial | {"files": []}
    with zipfile.ZipFile(file) as archive:
        repetitions = [json.loads(line) for line in archive.read(REPETITIONS).splitlines()]
        about = json.loads(archive.read("luthier.json"))
    assert [sum(r["repetition_of"] == c["trial"] for r in repetitions) for c in study["confirmed"]] == [2, 2]
    assert len({r["seed"] for r in repetitions}) == 4
    assert about["trial"] == study["best"]["trial"]
    assert len(list(tmp_path.iterdir())) == 2, "no temporary file stays"


def test_a_bundle_has_the_model_where_it_is_asked_for(ended: Running, tmp_path: Path) -> None:
    with Client(ended.url) as client:
        file = client.export_bundle("s1", tmp_path / "s1.zip", model=True)
    with zipfile.ZipFile(file) as archive:
        said = json.loads(archive.read(MANIFEST))["files"]["model.tar.gz"]
        assert archive.read("model.tar.gz") == ended.client.get("/v1/studies/s1/model").content
    assert said == {key: ended.study()["model"][key] for key in ("sha256", "bytes")}
    assert open_bundle(file).study.name == "s1"


@pytest.mark.both_databases
def test_a_study_that_runs_is_exported_as_it_is_now(house: Running, tmp_path: Path) -> None:
    worker = house.worker()
    house.started(worker, parallel=1)
    worker.train(worker.take())
    worker.train(worker.take(), steps=1)
    with Client(house.url) as client:
        bundle = open_bundle(client.export_bundle("s1", tmp_path / "s1.zip"))
        with pytest.raises(ServiceError, match="has no model") as refused:
            client.export_bundle("s1", tmp_path / "model.zip", model=True)
        with pytest.raises(ServiceError, match="no study named none"):
            client.export_bundle("none", tmp_path / "none.zip")
    assert refused.value.status == 409
    assert [trial.state.value for trial in bundle.trials.values()] == ["complete", "running"]
    assert len(bundle.trials[1].values) == 1
    assert bundle.study.versions == {}
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".zip"] == ["s1.zip"]


def test_an_external_study_and_one_without_a_trial_are_exported_too(house_sqlite: Running, tmp_path: Path) -> None:
    house_sqlite.client.post("/v1/studies", json=external.document(name="own")).raise_for_status()
    house_sqlite.create("fresh")
    with Client(house_sqlite.url) as client:
        own = open_bundle(client.export_bundle("own", tmp_path / "own.zip"))
        fresh = open_bundle(client.export_bundle("fresh", tmp_path / "fresh.zip"))
    assert own.spec.is_external
    assert (fresh.trials, fresh.study.fingerprint) == ({}, None)


def test_a_bundle_says_what_may_be_run_again_of_it(
    ended: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended.client.post("/v1/studies", json=external.document(name="theirs")).raise_for_status()
    ended.create("young")
    for name, said in (
        ("s1", "`luthier rerun {file}` runs its winner again and compares."),
        ("theirs", "It is for a trainer of your own, which is not in it: `luthier rerun` cannot run it."),
        ("young", "It has no winner yet: `luthier rerun {file} --all` runs its whole search."),
    ):
        file = tmp_path / f"{name}.zip"
        app(["export", name, "--bundle", "-o", str(file), "--server", ended.url], standalone_mode=False)
        assert capsys.readouterr().err == f"{file} has the study {name}. {said.format(file=file)}\n"


def test_a_study_is_created_with_the_semantics_of_its_bundle(house_sqlite: Running) -> None:
    create = "/v1/studies?semantics="
    document = house_sqlite.create("today")["spec"] | {"name": "before"}
    made = house_sqlite.client.post(f"{create}2", json=document)
    assert (made.status_code, made.json()["spec"]["semantics"]) == (201, 2)
    oldest = house_sqlite.client.post(f"{create}1", json=document | {"name": "oldest"})
    assert "semantics" not in oldest.json()["spec"]
    for wrong in ("0", "99", "x"):
        assert "semantics" in problem(house_sqlite.client.post(f"{create}{wrong}", json=document), 422)["detail"]


def test_a_bundle_whose_documents_say_nonsense_is_refused(ended: Running, tmp_path: Path) -> None:
    with Client(ended.url) as client:
        client.export_bundle("s1", tmp_path / "s1.zip")
    with zipfile.ZipFile(tmp_path / "s1.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name != MANIFEST}
    study = json.loads(files["study.json"])
    for name, content, words in (
        ("study.json", b"[]", "cannot be read"),
        ("study.json", json.dumps(study | {"spec": {"name": "x"}}).encode(), "task"),
        ("study.json", json.dumps(study | {"spec": study["spec"] | {"semantics": 99}}).encode(), "newer Luthier"),
        ("trials.jsonl", b"{", "trials.jsonl is damaged"),
        ("trials.jsonl", b'{"number": "many"}', "number"),
    ):
        with (tmp_path / "bad.zip").open("wb") as file:
            write_bundle(file, ((key, [value]) for key, value in (files | {name: content}).items()), "0.1.0")
        with pytest.raises(BundleError, match=words) as refused:
            open_bundle(tmp_path / "bad.zip")
        assert "Field required" not in str(refused.value)


def test_a_download_that_was_changed_on_its_way_leaves_no_file(
    ended: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.service.client.bundles.read_bundle", _refuse)
    with Client(ended.url) as client, pytest.raises(DownloadError, match="Download it again"):
        client.export_bundle("s1", tmp_path / "s1.zip")
    assert not list(tmp_path.iterdir())


def _refuse(path: Path) -> None:
    raise BundleError(str(path))
