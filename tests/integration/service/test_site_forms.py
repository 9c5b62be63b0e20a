"""The forms of pages without a browser: extend, go on, try a configuration."""

import pytest
import yaml

from luthier.studies.protocol import AssignmentKind
from tests.integration.service.test_site_data import spec_on
from tests.support import external
from tests.support.forms import fields, post, refused
from tests.support.harness import Running
from tests.support.stored_rows import everything

EVIL = {"Origin": "https://evil.example"}


def test_a_study_is_extended_by_new_totals_that_are_filled_in(house: Running) -> None:
    worker = house.worker()
    house.create(budget={"trials": 2, "gpu_seconds": 500})
    worker.drain()
    path = "/studies/s1/extend"
    page = house.client.get(path).text
    filled = fields(page)
    assert filled == {
        "trials": "3", "wall_clock_seconds": "", "gpu_seconds": "500", "target": "", "failures": "",
        "trial_seconds": "", "patience": "", "expected_gain": "",
    }  # fmt: skip
    assert "(now 2; used 2)" in page
    before = everything(house)
    page = refused(post(house, path, filled | {"trials": "1", "gpu_seconds": "9"}), 422, "must be at least")
    assert fields(page)["trials"] == "1"
    assert page.count("aria-invalid") == 2
    refused(post(house, path, filled | {"trials": "2"}), 422, "all 2 are used already")
    refused(post(house, path, filled | {"target": "<b>"}), 422, "target", "number")
    refused(post(house, path, {}), 422, "budget")
    assert post(house, path, filled, **EVIL).status_code == 403
    assert everything(house) == before
    answer = post(house, path, filled | {"gpu_seconds": ""})
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/s1")
    assert house.study()["spec"]["budget"] | {"trials": 3, "gpu_seconds": None} == house.study()["spec"]["budget"]
    assert house.study()["state"] == "running"
    worker.drain()
    assert len(house.trials()) == 3
    assert house.client.get("/studies/none/extend").status_code == 404


@pytest.mark.full
def test_a_target_and_a_running_study_are_filled_in(house: Running) -> None:
    house.create(budget={"trials": 9, "target": 0.1})
    worker = house.worker()
    worker.drain()
    assert fields(house.client.get("/studies/s1/extend").text)["target"] == "", "it may be what ended the study"
    house.started(worker, "s2", budget={"trials": 3, "target": 0.99})
    filled = fields(house.client.get("/studies/s2/extend").text)
    assert (filled["trials"], filled["target"]) == ("5", "0.99")


def test_a_configuration_of_ones_own_runs_next_and_once(house: Running) -> None:
    worker = house.worker()
    house.started(worker)
    path = "/studies/s1/enqueue"
    page = house.client.get(path).text
    assert "1e-06 to 0.001" in page
    key = fields(page)["key"]
    typed = {"key": key, "param.learning_rate": "5e-5", "param.batch_size": "1", "param.epochs": "", "seed": "7"}
    for wrong, words in (
        ({"param.learning_rate": "0.5"}, "learning_rate"),
        ({"param.batch_size": "9"}, "batch_size"),
        ({"param.epochs": "<b>"}, "epochs"),
        ({"seed": "-1"}, "whole number"),
    ):
        page = refused(post(house, path, typed | wrong), 422, words)
        assert "aria-invalid" in page
        assert "<b>" not in page
        assert 'value="5e-5"' in page or "learning_rate" in words
    assert house.trials() == []
    for _ in range(2):
        answer = post(house, path, typed)
        assert (answer.status_code, answer.headers["location"]) == (303, "/studies/s1/trials/1")
    trial = house.trials()[1]
    assert len(house.trials()) == 2
    assert trial["params"] | {"learning_rate": 5e-5, "batch_size": 16} == trial["params"]
    assert trial["seed"] == 7
    again = house.client.get("/studies/s1/trials/1/again").headers["location"]
    page = house.client.get(again).text
    assert fields(page)["param.learning_rate"] == "5e-05"
    assert '<option value="1" selected>16</option>' in page
    refused(post(house, path, fields(page) | {"param.batch_size": "1", "seed": ""}), 409, "is trial 1 of s1 already")
    house.client.post("/v1/studies/s1/cancel")
    refused(post(house, path, typed | {"key": "other"}), 409, "before it is extended")


@pytest.mark.full
def test_before_the_inspection_configurations_wait_on_the_page(house: Running) -> None:
    house.create()
    typed = {"param.learning_rate": "5e-5", "param.freeze_depth": "2"}
    answer = post(house, "/studies/s1/enqueue", typed)
    assert answer.headers["location"] == "/studies/s1#waiting"
    page = house.client.get("/studies/s1").text
    assert "trial 1</a>: learning rate <strong>5e-05</strong>, freeze depth <strong>2</strong>" in page
    refused(post(house, "/studies/s1/enqueue", {"param.learning_rate": "7"}), 422, "learning_rate")
    worker = house.worker()
    worker.inspect(worker.take(AssignmentKind.INSPECT))
    worker.take()
    assert 'id="waiting"' not in house.client.get("/studies/s1").text
    assert house.trials()[1]["params"]["freeze_depth"] == 2


@pytest.mark.full
def test_names_and_words_of_an_external_study_are_kept(house: Running) -> None:
    space = {"lr": {"low": 0.1, "high": 1.0}, "width": ["1", "2"], "bias": [True, False]}
    assert house.client.post("/v1/studies", json=external.document(space=space)).status_code == 201
    answer = post(house, "/studies/tuning/enqueue", {"param.width": "0", "param.bias": "1"})
    assert answer.status_code == 303, answer.text
    params = house.trials("tuning")[-1]["params"]
    assert (params["width"], params["bias"]) == ("1", False)


@pytest.mark.full
def test_a_successor_and_old_trials_begin_a_spec(house: Running) -> None:
    house.finished()
    house.create("s1-2")
    begun = house.client.get(house.client.get("/studies/s1/successor").headers["location"]).text
    text = spec_on(begun)
    spec = yaml.safe_load(text)
    assert (spec["name"], spec["from"]) == ("s1-3", {"study": "s1", "import": "trials"})
    assert "null" not in text
    assert post(house, "/new", {"spec": text}).headers["location"] == "/studies/s1-3"
    worker = house.worker()
    worker.drain()
    page = house.client.get("/studies/s1-3").text
    assert "Old trials: 4 taken over whole, 0 run anew, 0 dropped" in page
    whole = next(trial for trial in house.trials("s1-3") if trial["taken_from"] is not None)
    link = f">trial {whole['taken_from']['trial']} of s1</a>"
    assert link in house.client.get(f"/studies/s1-3/trials/{whole['number']}").text
    house.create("alive")
    running_one = spec_on(house.client.get("/new?from=alive").text)
    refused(post(house, "/new", {"spec": running_one}), 422, "from.study", "alive")
    assert "from" not in yaml.safe_load(spec_on(house.client.get("/new?like=s1-3").text))
    assert house.client.get("/new?from=none").status_code == 404

    plain = "# mine\n" + text.replace("from: {study: s1, import: trials}", "").replace("s1-3", "s9")
    csv = b"learning_rate,batch_size,value\n1e-5,8,0.7\n2e-5,16,0.9\n"
    taken = house.client.post("/new/trials", data={"spec": plain}, files={"trials": ("old.csv", csv)})
    text = spec_on(taken.text)
    assert text.startswith("# mine\n")
    assert [row["value"] for row in yaml.safe_load(text)["from"]["trials"]] == [0.9, 0.7]
    for spec_text, content, words in (
        (text, csv, "names old trials already"),
        (plain, b"loss\n1\n", "old.csv has no column of a hyperparameter"),
        (plain, b"\xff\xfe", "old.csv is not UTF-8"),
        ("[", csv, "line 2"),
    ):
        answer = house.client.post("/new/trials", data={"spec": spec_text}, files={"trials": ("old.csv", content)})
        refused(answer, 422, words)
    assert post(house, "/new", {"spec": text}).headers["location"] == "/studies/s9"
