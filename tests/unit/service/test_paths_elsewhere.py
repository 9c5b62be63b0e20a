"""What a spec names on this machine is said before a service on another one is asked."""

import contextlib
import json
from pathlib import Path

from luthier.service.cli.first_look import told_of_elsewhere
from tests.support.specs import document


def test_paths_of_this_machine_are_told_where_other_machines_look(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sms.csv").write_text("message,label\n")
    text = json.dumps(document())
    with contextlib.chdir(tmp_path):
        (told,) = told_of_elsewhere(text, "http://gpu-box:8000")
        assert told.startswith(
            "dataset.source: data/sms.csv is on this machine, and the workers of http://gpu-box:8000"
        )
        assert "luthier dataset upload" in told
        files = {"train": "data/sms.csv", "validation": "data/sms.csv"}
        assert told_of_elsewhere(json.dumps(document({"dataset.source": files})), "http://gpu-box:8000") == [told]
        (tmp_path / "models" / "minilm").mkdir(parents=True)
        assert told_of_elsewhere(text, "http://gpu-box:8000")[1].startswith("model: models/minilm is on this machine")
        assert told_of_elsewhere(text, "http://127.0.0.1:8000") == []
        assert told_of_elsewhere("name: [", "http://gpu-box:8000") == []
    with contextlib.chdir(tmp_path / "models"):
        assert told_of_elsewhere(text, "http://gpu-box:8000") == []
