"""Values as the command line prints them."""

import io
import random

import pytest
from rich.console import Console

from luthier.service.cli import long_table
from luthier.service.cli.output import cell, duration, score, size, table


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
