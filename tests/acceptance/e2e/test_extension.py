"""A study that is extended, and studies that go on from it, by the command line and with real fine-tuning."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import Luthier, command_in
from tests.support.served import Served, spec
from tests.support.waiting import until

pytestmark = [pytest.mark.full, pytest.mark.timeout(240)]


@pytest.fixture
def luthier(shared: Served, tmp_path: Path) -> Luthier:
    """Run a command, which must succeed, against the shared service."""
    run = command_in(tmp_path)

    def succeeding(*arguments: object, **given: Any) -> Any:
        done = run(*arguments, LUTHIER_SERVER=f"http://127.0.0.1:{shared.port}", **given)
        assert done.returncode == 0, done.stderr
        return done

    return succeeding


def short(tiny: Path, name: str, trials: int, **changes: Any) -> dict[str, Any]:
    """Return a study of trials of one epoch."""
    document = spec(tiny, name, budget={"trials": trials}, **changes)
    document["space"]["epochs"] = 1
    return document


def ended(shared: Served, document: dict[str, Any]) -> dict[str, Any]:
    shared.client.post("/v1/studies", json=document).raise_for_status()
    return shared.ended(document["name"])


def essence(served: Served, name: str) -> list[Any]:
    return [(t["state"], t["params"], t["seed"], t["value"], t["values"]) for t in served.trials(name)]


def test_a_study_is_extended_and_goes_on_in_others(
    shared: Served, luthier: Luthier, tiny: Path, tmp_path: Path
) -> None:
    """Extended, it is the study that had this budget from the start.

    The weights of the winner that another study takes over are lost: it is trained again from its seed, to the same
    scores, also on the test split.
    """
    whole = ended(shared, short(tiny, "whole", 3))
    document = short(tiny, "extended", 2)
    ended(shared, document)
    study = json.loads(luthier("extend", "extended", "--trials", 1, "-o", "json").stdout)
    assert (study["state"], study["spec"]["budget"]["trials"]) == ("running", 3)
    before = shared.ended("extended")
    assert essence(shared, "extended") == essence(shared, "whole")
    assert before["best"] == {**whole["best"], "test_looks": 2}

    (tmp_path / "trials.csv").write_text(luthier("export", "extended").stdout)
    for weights in (Path(shared.environment["LUTHIER_HOME"]) / "store").glob("*/best-*"):
        weights.unlink()
    changes: dict[str, Any] = {"from": {"study": "extended"}, "budget": {"trials": 1, "target": 0.0}}
    after = ended(shared, {**document, "name": "after", **changes})
    assert shared.client.delete("/v1/studies/extended").status_code == 204
    assert (after["taken_over"]["trials"], after["counts"]["complete"]) == (3, 3)
    assert after["best"] == {**before["best"], "test_looks": 3}
    luthier("model", "after", "-o", tmp_path / "winner")
    assert (tmp_path / "winner" / "model.safetensors").exists()

    imported = json.dumps({**document, "name": "imported", "seed": 7, "budget": {"trials": 3}})
    luthier("create", "-", "--import", "trials.csv", stdin=imported)
    study = until(lambda: found if (found := shared.study("imported"))["taken_over"] else None, 60, 0.05)
    shared.client.post("/v1/studies/imported/cancel").raise_for_status()
    assert (study["taken_over"]["params"], study["taken_over"]["dropped"]) == (2, 1)
    old = sorted(shared.trials("after")[1:], key=lambda trial: -trial["value"])
    assert [trial["params"] for trial in shared.trials("imported")[1:]] == [trial["params"] for trial in old]
