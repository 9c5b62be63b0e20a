"""Values as the command line prints them."""

import pytest

from luthier.service.cli.output import cell, duration, score, size


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
