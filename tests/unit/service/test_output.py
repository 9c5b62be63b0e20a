"""Values as the command line prints them."""

import io
import json
import random
import sys
from typing import Any

import pytest
from rich.console import Console

from luthier.service.cli import long_table
from luthier.service.cli.connect import tell
from luthier.service.cli.long_table import plain_lines
from luthier.service.cli.output import Format, cell, duration, emit, facts, score, size, table
from luthier.service.schemas import TrialView
from luthier.studies.protocol import TrialState


@pytest.mark.parametrize(
    ("count", "printed"),
    [(None, "-"), (1, "1 byte"), (999, "999 bytes"), (1_500_000, "1.5 MB"), (85_520_809_984, "85.5 GB")],
)
def test_sizes_are_decimal_as_rich_prints_them(count: int | None, printed: str) -> None:
    assert size(count) == printed


def test_what_is_not_known_is_a_dash() -> None:
    assert [cell(None), score(None), duration(None)] == ["-"] * 3


@pytest.mark.parametrize(("seconds", "printed"), [(0.4, "0:00"), (65, "1:05"), (7265.2, "2:01:05"), (-3, "0:00")])
def test_time_spans_are_minutes_and_seconds(seconds: float, printed: str) -> None:
    assert duration(seconds) == printed


@pytest.mark.parametrize("alphabet", ["abc 1", "aé漢字 b", "a\tb\nc"])
@pytest.mark.parametrize("width", [30, 240])
@pytest.mark.parametrize("terminal", [False, True])
def test_a_long_table_is_printed_as_rich_prints_it(
    monkeypatch: pytest.MonkeyPatch, alphabet: str, width: int, terminal: bool
) -> None:
    chance = random.Random(0)
    rows = [["".join(chance.choices(alphabet, k=chance.randrange(12))) for _ in range(4)] for _ in range(50)]

    def printed(long: int, title: str | None) -> str:
        monkeypatch.setattr(long_table, "LONG", long)
        file = io.StringIO()
        console = Console(file=file, markup=False, highlight=False, width=width, force_terminal=terminal)
        console.print(table((">number", "text", ">x", "last"), rows, title))
        return file.getvalue()

    for title in (None, "A title"):
        assert printed(49, title) == printed(50, title)


HEADINGS = (">trial", "state", ">accuracy", ">time", ">learning_rate", ">batch_size", "configuration")
ROWS = [[n, "complete", 0.5, f"0:{n:02}", 1e-4, 16, f"layer_decay 0.{n}, weight_decay 0.1"] for n in range(12)]


def on_terminal(width: int, headings: tuple[str, ...], rows: list[list[Any]]) -> list[str]:
    file = io.StringIO()
    Console(file=file, markup=False, highlight=False, width=width).print(table(headings, rows, "Best trials"))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_table_fits_the_terminal_and_loses_nothing(width: int) -> None:
    lines = on_terminal(width, HEADINGS, ROWS)
    assert max(map(len, lines)) <= width
    said = " ".join(" ".join(lines).split())
    for number, row in enumerate(ROWS):
        assert row[-1] in said
        assert any(line.split()[:2] == [str(number), "complete"] for line in lines)
    assert ("configuration layer_decay 0.3" in said) == (width < 100)


def test_a_table_of_long_words_is_folded_as_rich_does() -> None:
    lines = on_terminal(40, ("name", "state"), [["q" * 60, "running"], ["b", "x" * 70]])
    assert max(map(len, lines)) <= 40
    assert ("".join(lines).count("q"), "".join(lines).count("x")) == (60, 70)


def test_a_table_in_a_pipe_is_a_line_for_each_row() -> None:
    lines = list(plain_lines(table(HEADINGS, ROWS, "Best trials")))
    assert lines[:3] == [
        "Best trials",
        "trial  state     accuracy  time  learning_rate  batch_size  configuration",
        "    0  complete       0.5  0:00         0.0001          16  layer_decay 0.0, weight_decay 0.1",
    ]
    assert len(lines) == 2 + len(ROWS) + 1
    pairs = list(plain_lines(facts({"study": "a", "configuration": "two\nlines", "none": None})))
    assert pairs == ["study          a", "configuration  two lines", ""]


HOSTILE = "a\x1b]0;title\x07\x9b2J\r漢\tb"


@pytest.mark.parametrize("form", [Format.CSV, Format.TSV, Format.JSON, Format.YAML])
def test_no_form_brings_others_control_characters_to_a_terminal(
    form: Format, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = TrialView(number=3, state=TrialState.FAILED, params={"model": HOSTILE}, error=HOSTILE, value=0.5)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    emit([trial], form)
    shown = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\x9b", "\r"} & set(shown)
    assert "漢" in shown
    assert "0.5" in shown


def test_a_sentence_on_stderr_controls_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(HOSTILE)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    tell(HOSTILE)
    assert capsys.readouterr().err == f"{HOSTILE}\na]0;title2J漢\tb\n"


def test_a_program_gets_the_text_of_others_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    trial = TrialView(number=3, state=TrialState.FAILED, params={}, error=HOSTILE)
    emit([trial], Format.CSV)
    assert HOSTILE in capsys.readouterr().out
    emit(trial, Format.JSON)
    assert json.loads(capsys.readouterr().out)["error"] == HOSTILE
