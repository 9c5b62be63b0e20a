"""A home that version 0.1.0 wrote, before its modules moved, opens, answers the same, and its study continues.

The archive holds the home of a service that was killed within the study `half` (trial 0 done, trial 1 with two
evaluations and a file for a resume), a finished study with confirmed candidates, and a schedule whose runs made a
champion and replaced it; the tiny model and data of the studies; and, in expected.json, what version 0.1.0 answered.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.archives import unpack_tar
from tests.support.served import Served, environment

ARCHIVE = Path(__file__).parent / "data" / "home-of-0.1.0.tar.xz"
MOVES_WITH_TIME = {"next", "state"}  # due times are counted from now; `half` was paused while the answers were taken


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("older")
    unpack_tar(ARCHIVE, folder)
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "expected.json").read_text()))


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    served = Served(environment(folder / "home", folder), cwd=folder)  # the spec names model and data relative to it
    served.start()
    yield served
    served.kill()
    served.client.close()


def of_before(now: Any, before: Any) -> Any:
    """What an answer says under the names that it had before; a later version may say more."""
    if isinstance(now, dict) and isinstance(before, dict):
        return {name: of_before(value, before[name]) for name, value in now.items() if name in before}
    if isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        return [of_before(a, b) for a, b in zip(now, before, strict=True)]
    return now


def test_everything_is_answered_as_before(served: Served, expected: dict[str, Any]) -> None:
    def get(path: str) -> Any:
        return served.client.get(path).raise_for_status().json()

    for name, study in expected["studies"].items():
        if name != "half":
            assert of_before(get(f"/v1/studies/{name}"), study) == study
            trials = expected["trials"][name]
            assert of_before(get(f"/v1/studies/{name}/trials?limit=500")["items"], trials) == trials
    before = {key: value for key, value in expected["schedule"].items() if key not in MOVES_WITH_TIME}
    assert of_before(get("/v1/schedules/nightly"), before) == before
    assert of_before(get("/v1/schedules/nightly/runs?limit=500")["items"], expected["runs"]) == expected["runs"]
    for run in expected["runs"]:
        assert get(f"/v1/schedules/nightly/runs/{run['id']}")["decision"] == run["decision"]


def test_models_and_champions_are_still_there(served: Served, expected: dict[str, Any]) -> None:
    for path in ("/v1/studies/done/model", "/v1/schedules/nightly/champion"):
        answer = served.client.get(path)
        assert answer.status_code == 200
        assert len(answer.content) > 100
    assert (
        served.client.post("/v1/schedules/nightly/rollback").raise_for_status().json()["champion"]
        != expected["schedule"]["champion"]
    )


def test_the_study_that_was_killed_continues_to_its_end(served: Served, expected: dict[str, Any]) -> None:
    assert served.ended("half")["state"] == "completed"
    trials, before = served.trials("half"), expected["went_on"]
    assert [trial["params"] for trial in trials] == [trial["params"] for trial in before]
    assert [trial["seed"] for trial in trials] == [trial["seed"] for trial in before]
    assert [trial["attempt"] for trial in trials] == [1, 2, 1]
    for trial, old in zip(trials, before, strict=True):
        assert [value["step"] for value in trial["values"]] == [value["step"] for value in old["values"]]
        # Equal to the last bit on the machine that wrote the archive; another processor may round otherwise.
        assert trial["value"] == pytest.approx(old["value"], abs=0.1)
