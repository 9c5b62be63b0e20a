"""A study exported from a service and run again elsewhere, with real fine-tuning: the same scores to the last digit."""

import json
from pathlib import Path

import pytest

from tests.support import external
from tests.support.archives_of_data import zipped
from tests.support.command_line import command_in
from tests.support.served import Served, spec
from tests.support.tiny import tiny_csv


@pytest.mark.timeout(240)
def test_a_bundle_run_again_in_a_fresh_home_gives_the_same_scores(shared: Served, tiny: Path, tmp_path: Path) -> None:
    luthier, server = command_in(tmp_path), str(shared.client.base_url)
    document = spec(tiny, "kept", budget={"trials": 3, "target": -1.0}, evaluations_per_epoch=1)
    document["objective"] = {"metric": "loss", "direction": "minimize"}  # no two trials tie, as they may in accuracy
    document["space"] |= {"learning_rate": {"low": 2e-3, "high": 5e-3}}
    shared.client.post("/v1/studies", json=document).raise_for_status()
    study = shared.ended("kept")
    done = luthier("export", "kept", "--bundle", "-o", "kept.zip", LUTHIER_SERVER=server)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    winner = study["best"]["trial"]
    assert winner > 0, "a trial that is not trial 0 must be run with a seed that is not its number's"

    home = str(tmp_path / "fresh")
    again = luthier("rerun", "kept.zip", "--json", LUTHIER_HOME=home)
    assert again.returncode == 0, again.stderr
    view = json.loads(again.stdout)
    assert (view["equal"], view["study"], view["changed"]) == (True, f"kept-rerun-{winner}", [])
    scores = sum(len(step["metrics"]) for step in shared.trials("kept")[winner]["values"])
    assert [(trial["trial"], trial["scores"]) for trial in view["trials"]] == [(winner, scores)]
    assert view["test"]["equal"]

    whole = luthier("rerun", "kept.zip", "--all", LUTHIER_HOME=shared.environment["LUTHIER_HOME"])
    assert whole.returncode == 0, whole.stderr
    assert "is served by" in whole.stderr
    assert whole.stdout.startswith("3 of 3 trials of kept are equal to the last digit: ")
    assert whole.stdout.strip().endswith("on validation and test, again as kept-rerun.")

    tiny_csv(tiny / "other.csv", rows=400, seed=9)
    moved = ("rerun", "kept.zip", "--trial", winner, "--data", tiny / "other.csv", "--name", "elsewhere")
    other = luthier(*moved, LUTHIER_HOME=shared.environment["LUTHIER_HOME"])
    assert other.returncode == 1, other.stderr
    lines = other.stdout.splitlines()
    assert lines[0].startswith(f"Trial {winner} of kept differs: ")
    assert any(line.startswith("The fingerprint of the data and its splits was ") for line in lines)


def test_what_cannot_be_run_again_is_a_sentence_and_starts_nothing(shared: Served, tmp_path: Path) -> None:
    luthier, server = command_in(tmp_path), str(shared.client.base_url)
    shared.client.post("/v1/studies", json=external.document(name="own-trainer")).raise_for_status()
    wrong = luthier("export", "own-trainer", "--bundle", LUTHIER_SERVER=server)
    assert (wrong.returncode, "A bundle is a file" in wrong.stderr) == (2, True)
    alone = luthier("export", "own-trainer", "-o", "x.csv", LUTHIER_SERVER=server)
    assert (alone.returncode, "are for --bundle" in alone.stderr) == (2, True)
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
