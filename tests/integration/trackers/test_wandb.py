"""Weights & Biases itself, offline: the files that `wandb sync` would send."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.trackers.conftest import Track
from tests.support.harness import Running

pytestmark = [pytest.mark.trackers, pytest.mark.timeout(300)]
BLOCK = 32768  # bytes, as in the logs of LevelDB, whose format the files have
WHOLE, LAST = 1, 4


def messages(file: Path) -> Iterator[bytes]:
    """Yield the messages of a file; a message may lie in several pieces."""
    content, at, message = file.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + 7])
        message += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (WHOLE, LAST):
            yield message
            message = b""


def stored(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the runs in a folder by name: id, group, kind, configuration, history, summary and exit code."""
    from wandb.proto.wandb_internal_pb2 import Record

    runs = {}
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        run: dict[str, Any] = {"history": [], "summary": {}, "artifacts": 0}
        for message in messages(file):
            record = Record.FromString(message)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run |= {"name": record.run.display_name, "id": record.run.run_id, "group": record.run.run_group}
                run |= {"kind": record.run.job_type, "project": record.run.project, "tags": [*record.run.tags]}
                run["config"] = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif kind == "history":
                run["history"].append(_items(record.history.item))
            elif kind == "summary":
                run["summary"] |= _items(record.summary.update)
            elif kind == "artifact":
                run["artifacts"] += 1
            elif kind == "exit":
                run["exit"] = record.exit.exit_code
        assert run["name"] not in runs  # nothing is doubled
        runs[run["name"]] = run
    return runs


def _items(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_offline_files_have_a_study_and_its_trials_once(study: Running, track: Track, tmp_path: Path) -> None:
    files = []
    for _ in range(2):
        track("--to", "wandb", "--model", WANDB_MODE="offline", WANDB_DIR=str(tmp_path), WANDB_API_KEY="k" * 40)
        runs = stored(tmp_path)
        files.append(sorted(file.name for file in tmp_path.glob("wandb/offline-run-*/*.wandb")))
        trials = study.trials()
        assert len(runs) == 1 + len(trials)
        for trial in trials:
            run = runs[f"s1 trial {trial['number']}"]
            assert (run["group"], run["kind"], run["project"]) == ("s1", "trial", "luthier")
            assert {name: run["config"][name] for name in trial["params"]} == trial["params"]
            curve = [(step["step"], step["metrics"]["accuracy"]) for step in trial["values"]]
            assert [(row["_step"], row["accuracy"]) for row in run["history"]] == curve
            for name in ("state", "reason", "value", "seconds"):
                assert run["summary"].get(name) == trial[name]
            assert run["exit"] == (1 if trial["state"] == "failed" else 0)
        parent = runs["s1"]
        assert parent["kind"] == "study"
        assert parent["tags"] == ["german"]
        assert parent["summary"]["test.accuracy"] == study.study()["best"]["test"]["accuracy"]
        assert parent["config"]["space.learning_rate.high"] == 1e-3
        assert parent["artifacts"] == 1
        assert parent["exit"] == 0
    assert files[0] == files[1]  # the ids are the same
    assert not any(b"k" * 40 in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_an_offline_run_that_was_interrupted_is_written_anew(study: Running, track: Track, tmp_path: Path) -> None:
    environment = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)}
    track("--to", "wandb", **environment)
    [interrupted] = tmp_path.glob("wandb/offline-run-*-0")
    (interrupted / "luthier-whole").unlink()
    [file] = interrupted.glob("*.wandb")
    file.write_bytes(file.read_bytes()[:100])
    track("--to", "wandb", **environment)
    assert len(stored(tmp_path)["s1 trial 0"]["history"]) == len(study.trials()[0]["values"])
