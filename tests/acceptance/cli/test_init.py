"""`luthier init DATA`: a first spec on disk or on stdout, and sentences where there is none."""

from pathlib import Path

from luthier.studies.spec import parse_spec
from tests.support.command_line import Luthier

ROWS = "text,label\n" + "".join(f"the words of row number {i},{'ab'[i % 2]}\n" for i in range(40))


def test_a_spec_is_written_once_and_never_over_another(luthier: Luthier, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    done = luthier("init", "rows.csv")
    assert done.returncode == 0, done.stderr
    assert "rows.yaml is written" in done.stderr
    spec = parse_spec((tmp_path / "rows.yaml").read_text())
    assert (spec.task, spec.preset, spec.dataset.source) == ("text-classification", "good", "rows.csv")
    again = luthier("init", "rows.csv")
    assert again.returncode == 2
    assert "rows.yaml exists already" in again.stderr


def test_what_cannot_be_looked_at_is_a_sentence(luthier: Luthier, tmp_path: Path) -> None:
    (tmp_path / "rows.xlsx").write_bytes(b"PK\x03\x04")
    done = luthier("init", "rows.xlsx", "-o", "-")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is a zip archive" in done.stderr
    assert "Traceback" not in done.stderr
