"""Paths that a command is given are looked at first, in the command's own process, and named in a sentence."""

import contextlib
from pathlib import Path

import pytest

from luthier.service.cli import app
from luthier.service.cli.connect import CommandError

TARGET = "The folder nowhere does not exist; make it, or name another file."
TAKEN = "here.yaml exists already; name another file with -o, or - for stdout."


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("init /nope", "/nope does not exist; give a file or a folder."),
        (
            "init https://example.org/a.csv",
            "https://example.org/a.csv: URLs are not fetched; download it and give its path.",
        ),
        ("init rows.csv -o here.yaml", TAKEN),
        ("init rows.csv -o nowhere/x.yaml", TARGET),
        ("import nope.db", "nope.db does not exist."),
        ("import .", ". is a folder; name a file."),
        ("import here.yaml --data /nope", "/nope does not exist; give a file or a folder."),
        ("import here.yaml -o here.yaml", TAKEN),
        ("run nope.yaml", "nope.yaml does not exist."),
        ("plan nope.yaml", "nope.yaml does not exist."),
        ("create nope.yaml", "nope.yaml does not exist."),
        ("create here.yaml --import nope.csv", "nope.csv does not exist."),
        ("rerun nope.zip", "nope.zip does not exist."),
        ("predict one nope.csv", "nope.csv does not exist."),
        ("predict one rows.csv -o nowhere/x.csv", TARGET),
        ("predict one rows.csv -o .", ". is a folder; name a file in it, as NAME."),
        ("predict one rows.csv -o x.jsonl", "x.jsonl: the answers are a csv file; end its name so, as x.csv."),
        ("plot one history -o nowhere/x.png", TARGET),
        ("write-report one -o nowhere/x.html", TARGET),
        ("export one --bundle -o nowhere/x.zip", TARGET),
        ("dataset upload nope.csv", "nope.csv does not exist."),
        ("schedule create nope.yaml", "nope.yaml does not exist."),
    ],
)
def test_a_wrong_path_is_told_before_anything_else_is_done(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "here.yaml").write_text("parameters: {lr: {value: 1.0e-5}}")
    (tmp_path / "rows.csv").write_text("text\na\n")
    with contextlib.chdir(tmp_path), pytest.raises(CommandError) as refused:
        app(line.split(), standalone_mode=False)
    assert (refused.value.code, refused.value.lines) == (2, (said,))
    assert {file.name for file in tmp_path.iterdir()} == {"here.yaml", "rows.csv"}
