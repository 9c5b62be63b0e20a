"""What a worker's command line makes of its environment."""

from pathlib import Path

import pytest

from trials import __main__ as command
from trials.session import BadData
from trials.sources import local_path
from trials.worker import Worker


@pytest.mark.parametrize("roots", [None, "/"])
def test_without_data_roots_a_worker_reads_below_its_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, roots: str | None
) -> None:
    async def run(self: Worker) -> int:
        return 0

    inside, outside = tmp_path / "here" / "d.csv", tmp_path / "secret.csv"
    inside.parent.mkdir()
    inside.touch()
    outside.touch()
    monkeypatch.setattr(Worker, "run", run)
    monkeypatch.chdir(inside.parent)
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", "")  # so that what `main` sets is undone
    if roots is None:
        monkeypatch.delenv("LUTHIER_DATA_ROOTS")
    else:
        monkeypatch.setenv("LUTHIER_DATA_ROOTS", roots)
    assert command.main(["--server", "http://127.0.0.1:9", "--gpu", "cpu"]) == 0
    assert local_path("d.csv") == inside
    if roots is None:
        with pytest.raises(BadData, match="LUTHIER_DATA_ROOTS"):
            local_path(str(outside))
    else:
        assert local_path(str(outside)) == outside
