"""A study exported from a service and run again elsewhere, with real fine-tuning: the same scores to the last digit."""

import json
from pathlib import Path

import pytest

from tests.support import external
from tests.support.archives_of_data import zipped
from tests.support.command_line import command_in
from tests.support.served import Served, spec


@pytest.fixture(scope="module")
def kept(shared: Served, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a study with two trials; the winner is number 1, a user's own with a seed of its own."""
    folder = tmp_path_factory.mktemp("kept")
    document = spec(tiny, "kept", budget={"trials": 2, "target": -1.0}, evaluations_per_epoch=1)
    document["objective"] = {"metric": "loss", "direction": "minimize"}  # no two trials tie, as they may in accuracy
    document["space"] |= {"learning_rate": {"low": 1e-5, "high": 5e-3}, "freeze_depth": 0}  # the baseline's is small
    shared.client.post("/v1/studies", json=document).raise_for_status()
    own = {"params": {"learning_rate": 4e-3}, "seed": 99}  # not the seed that a trial of this number has by itself
    assert shared.client.post("/v1/studies/kept/trials", json=own).json()["number"] == 1
    assert shared.ended("kept")["best"]["trial"] == 1
    server = str(shared.client.base_url)
    done = command_in(folder)("export", "kept", "--bundle", "-o", "kept.zip", LUTHIER_SERVER=server)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return folder / "kept.zip"


@pytest.mark.timeout(240)
def test_a_bundle_run_again_in_a_fresh_home_gives_the_same_scores(shared: Served, kept: Path, tmp_path: Path) -> None:
    again = command_in(tmp_path)("rerun", kept, "--json", LUTHIER_HOME=str(tmp_path / "fresh"))
    assert again.returncode == 0, again.stderr
    view = json.loads(again.stdout)
    assert (view["equal"], view["study"], view["changed"]) == (True, "kept-rerun-1", [])
    scores = sum(len(step["metrics"]) for step in shared.trials("kept")[1]["values"])
    assert [(trial["trial"], trial["scores"]) for trial in view["trials"]] == [(1, scores)]
    assert view["test"]["equal"]


@pytest.mark.wide
@pytest.mark.timeout(240)
def test_a_whole_search_run_again_by_the_service_of_a_home_is_compared_trial_by_trial(
    shared: Served, kept: Path, tmp_path: Path
) -> None:
    whole = command_in(tmp_path)("rerun", kept, "--all", LUTHIER_HOME=shared.environment["LUTHIER_HOME"])
    assert whole.returncode == 1, whole.stderr
    assert "is served by" in whole.stderr
    lines = whole.stdout.splitlines()
    assert lines[0].startswith("1 of 2 trials of kept are equal to the last digit: ")
    assert lines[0].endswith(" scores on validation, again as kept-rerun.")
    assert lines[1] == "Trial 1 of kept differs: the search drew another configuration."


def test_what_cannot_be_run_again_is_a_sentence_and_starts_nothing(shared: Served, tmp_path: Path) -> None:
    luthier, server = command_in(tmp_path), str(shared.client.base_url)
    shared.client.post("/v1/studies", json=external.document(name="own-trainer")).raise_for_status()
    wrong = luthier("export", "own-trainer", "--bundle", LUTHIER_SERVER=server)
    assert (wrong.returncode, "A bundle is a file" in wrong.stderr) == (2, True)
    alone = luthier("export", "own-trainer", "-o", "x.csv", LUTHIER_SERVER=server)
    assert (alone.returncode, "is for --bundle" in alone.stderr) == (2, True)
    assert luthier("export", "own-trainer", "--bundle", "-o", "own.zip", LUTHIER_SERVER=server).returncode == 0
    (tmp_path / "climbs.zip").write_bytes(zipped({"../out": b"x"}))
    (tmp_path / "text.zip").write_text("hello")
    for arguments, words in (
        (["own.zip"], "a trainer of its user's own"),
        (["climbs.zip"], "'../out', which a bundle does not have"),
        (["text.zip"], "it is not a zip"),
        (["none.zip"], "none.zip does not exist."),
        (["own.zip", "--all", "--trial", "1"], "--trial and --all exclude each other"),
    ):
        refused = luthier("rerun", *arguments)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert words in refused.stderr
        assert "Traceback" not in refused.stderr
    assert not (tmp_path / "luthier-data").exists()
