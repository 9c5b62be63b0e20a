"""The tour of docs/tutorial.md: its cells run in their order, as they stand there, against a real service."""

import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from tests.support.served import Served, environment

PAGE = "docs/tutorial.md"


@pytest.fixture
def folder(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the page's reader, where the tiny model and data stand in for those of `make demo`."""
    folder = tmp_path / "luthier"
    (folder / "data").mkdir(parents=True)
    shutil.copytree(tiny / "model", folder / "models" / "minilm")
    shutil.copy(tiny / "data.csv", folder / "data" / "rotten_tomatoes.csv")
    monkeypatch.chdir(folder)
    return folder


def test_the_cells_of_the_tour_run_as_they_stand_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = re.findall(r"^```python\n(.*?)^```$", (ROOT / PAGE).read_text(), flags=re.DOTALL | re.MULTILINE)
    served = Served(environment(tmp_path / "home", folder), cwd=folder)
    served.start()
    monkeypatch.setenv("LUTHIER_SERVER", served.client.base_url.__str__())
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "")
    names: dict[str, Any] = {}
    printed = []
    try:
        for number, cell in enumerate(cells, 1):
            exec(compile(cell, f"{PAGE}, cell {number}", "exec"), names)
            printed.append(capsys.readouterr().out)
        assert served.client.get("/v1/studies/tour").status_code == 404  # the last cell has cleaned up
    finally:
        served.kill(signal.SIGTERM)
        served.client.close()
    assert "text-classification" in printed[0]
    assert "'train': 120, 'validation': 60, 'test': 60" in printed[2]
    assert printed[3] == "completed\n"
    frame = names["frame"]
    assert list(frame["state"]) == ["complete"] * 5
    assert frame["params.learning_rate"][1] == 1e-3  # the configuration that was asked for
    assert printed[5].startswith("validation ")
    assert "'label': '" in printed[6]
    assert (folder / "tour-model" / "luthier.json").is_file()
