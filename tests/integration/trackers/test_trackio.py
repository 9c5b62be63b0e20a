"""Trackio itself: its local store, read by its own code."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.trackers.conftest import Track
from tests.support.command_line import command_in
from tests.support.harness import Running

pytestmark = [pytest.mark.trackers, pytest.mark.timeout(300)]
READ = """
import json
import trackio
from trackio.sqlite_storage import SQLiteStorage
runs = [(run.name, run.config, SQLiteStorage.get_logs("luthier", run.name)) for run in trackio.Api().runs("luthier")]
print(json.dumps(runs))
"""


def stored(store: Path) -> dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return the runs of a store by the first words of their names: configuration, and rows by step."""
    environment = os.environ | {"TRACKIO_DIR": str(store)}
    told = subprocess.run([sys.executable, "-c", READ], env=environment, capture_output=True, text=True, check=True)
    runs = json.loads(told.stdout)
    found = {name.rpartition(" ")[0]: (config, rows) for name, config, rows in runs}
    assert len(found) == len(runs)  # nothing is doubled
    return found


def test_the_local_store_has_a_study_and_its_trials_once(study: Running, track: Track, tmp_path: Path) -> None:
    for _ in range(2):
        track("--to", "trackio", TRACKIO_DIR=str(tmp_path / "store"))
        runs = stored(tmp_path / "store")
        trials = study.trials()
        assert len(runs) == 1 + len(trials)
        for trial in trials:
            config, rows = runs[f"s1 trial {trial['number']}"]
            assert config["_Group"] == "s1"
            assert {name: config[name] for name in trial["params"]} == trial["params"]
            *curve, summary = rows
            expected = [(step["step"], step["metrics"]["accuracy"]) for step in trial["values"]]
            assert [(row["step"], row["accuracy"]) for row in curve] == expected
            for name in ("state", "reason", "value", "seconds"):
                assert summary.get(name) == trial[name]
        assert runs["s1"][1][-1]["test.accuracy"] == study.study()["best"]["test"]["accuracy"]


def test_a_store_that_cannot_be_written_is_told_of(study: Running, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = str(tmp_path / "file" / "store")
    ended = command_in(tmp_path)("track", "s1", "--to", "trackio", LUTHIER_SERVER=study.url, TRACKIO_DIR=store)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
