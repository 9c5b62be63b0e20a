"""`luthier extend`, `luthier create --import` and their twins in the client, on a real service."""

import asyncio
import json
from pathlib import Path

import pytest

from luthier import AsyncClient, BadTrials, Client
from luthier.service.server.embedded import Embedded
from luthier.service.settings import Settings
from tests.support.command_line import SPEC, Luthier
from tests.support.play import MODEL, packed, play

SCORES = [[0.6], [0.7], [0.5], [0.8]]


def test_a_study_gets_more_than_it_had(luthier: Luthier, tmp_path: Path) -> None:
    with Embedded(Settings(home=tmp_path / "home"), study="one", fleet="none") as service:
        given = {"LUTHIER_SERVER": service.url, "LUTHIER_TOKEN": service.token}
        with Client(service.url, service.token) as client:
            client.create(SPEC.format(name="one") + "pruner: {name: none}\n")
            play(service, SCORES, packed(MODEL))
            for arguments, said in (
                (("--hours", 1), "--hours: one has no such limit; its budget is trials 3."),
                (("--target", "high"), "--target: high is neither a score nor none."),
                ((), "one has used its budget up: say how much more it gets, such as --trials 20."),
            ):
                refused = luthier("extend", "one", *arguments, **given)
                assert (refused.returncode, refused.stderr.strip()) == (2, said)
            done = luthier("extend", "one", "--trials", 1, "-o", "json", **given)
            assert done.returncode == 0, done.stderr
            study = json.loads(done.stdout)
            assert (study["state"], study["spec"]["budget"]["trials"]) == ("running", 4)
            play(service, SCORES, packed(MODEL))
            assert client.get("one").best_params == client.trial("one", 3).params
            shown = luthier("get", "one", **given).stdout
            assert "4/4 trials done" in shown
            assert "(look 2 at this test split)" in shown

            async def again() -> None:
                async with AsyncClient(service.url, service.token) as twin:
                    assert (await twin.extend("one", {"trials": 5})).spec["budget"]["trials"] == 5

            asyncio.run(again())
            assert client.extend("one", {"target": 0.99}).spec["budget"]["target"] == 0.99


def test_old_trials_come_from_a_csv(served: Luthier, service: Embedded, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.format(name="three"))
    (tmp_path / "trials.csv").write_text("params.learning_rate,value,state\n1e-4,0.5,complete\n2e-4,0.7,complete\n")
    done = served("create", "spec.yaml", "--import", "trials.csv", "-o", "json")
    assert done.returncode == 0, done.stderr
    values = [trial["value"] for trial in json.loads(done.stdout)["spec"]["from"]["trials"]]
    assert values == [0.7, 0.5]
    (tmp_path / "named.yaml").write_text(SPEC.format(name="four") + "from: {file: bad.csv}\n")
    (tmp_path / "bad.csv").write_text("learning_rate\nfast\n")
    refused = served("create", "named.yaml")
    assert (refused.returncode, refused.stderr.strip()) == (
        2,
        "bad.csv, line 2, column learning_rate: 'fast' is no number; write one, with a point, or leave the cell empty.",
    )
    twice = served("create", "named.yaml", "--import", "trials.csv")
    assert (twice.returncode, "keep one of the two" in twice.stderr) == (2, True)
    with Client(service.url, service.token) as client:
        named = SPEC.format(name="five") + f"from: {{file: {tmp_path / 'trials.csv'}, top: 1}}\n"
        assert client.create(named).spec["from"]["top"] == 1
        with pytest.raises(BadTrials, match="line 2"):
            client.create(named.replace("trials.csv", "bad.csv"))
