"""TensorBoard itself: its own reader reads what was written."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.trackers.conftest import Track
from tests.support.harness import Running

pytestmark = [pytest.mark.trackers, pytest.mark.timeout(300)]


def read(folder: Path) -> tuple[Any, dict[str, list[tuple[int, float]]]]:
    """Return TensorBoard's reader of a folder, and the numbers in it by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    reader = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    reader.Reload()
    numbers = {}
    for name in reader.Tags()["tensors"]:
        if reader.SummaryMetadata(name).plugin_data.plugin_name == "scalars":
            events = reader.Tensors(name)
            numbers[name] = [(event.step, make_ndarray(event.tensor_proto).item()) for event in events]
    return reader, numbers


def test_event_files_have_a_study_and_its_trials_once(study: Running, track: Track, tmp_path: Path) -> None:
    from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG, SESSION_START_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    kept = tmp_path / "logs" / "other.txt"
    for _ in range(2):
        track("--to", "tensorboard", TENSORBOARD_LOGGING_DIR=str(tmp_path / "logs"))
        [folder] = (tmp_path / "logs").glob("s1-*")
        (folder / kept.name).write_text("stays")
        for trial in study.trials():
            reader, numbers = read(folder / f"trial-{trial['number']}")
            curve = [(step["step"], pytest.approx(step["metrics"]["accuracy"])) for step in trial["values"]]
            assert numbers.get("accuracy", []) == curve
            assert [value for _, value in numbers.get("value", [])] == [
                pytest.approx(value) for value in [trial["value"]] if value is not None
            ]
            start = reader.SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.content
            params = HParamsPluginData.FromString(start).session_start_info.hparams
            assert params["learning_rate"].number_value == trial["params"]["learning_rate"]
            end = HParamsPluginData.FromString(reader.SummaryMetadata(SESSION_END_INFO_TAG).plugin_data.content)
            assert end.session_end_info.status == (2 if trial["state"] == "failed" else 1)
        reader, numbers = read(folder)
        assert [value for _, value in numbers["test.accuracy"]] == [study.study()["best"]["test"]["accuracy"]]
        assert reader.Tensors("study")[0].tensor_proto.string_val[0].decode().count("The \\| first") == 1
        assert len([*folder.glob("events.*")]) == 1
        assert (folder / kept.name).read_text() == "stays"
