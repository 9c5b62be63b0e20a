"""The rule by which the soak calls a series of samples flat: a leak is told from noise, and from warming up."""

import random

import pytest

from tests.soak.samples import MB, MEASURES, trend

MINUTES = [i / 2 for i in range(120)]


def series(per_minute: float, noise: float, first_minutes: float = 0.0) -> list[float]:
    """Return the memory of an hour: 200 MB, a slope, noise, and a rise in the first minutes."""
    dice = random.Random(1)
    rise = [20.0 * min(at / first_minutes, 1.0) if first_minutes else 0.0 for at in MINUTES]
    return [(200 + more + per_minute * at + dice.gauss(0, noise)) * MB for at, more in zip(MINUTES, rise, strict=True)]


@pytest.mark.parametrize(
    ("values", "is_flat"),
    [
        (series(0, 0), True),
        (series(0, 5), True),
        (series(0, 2, first_minutes=20), True),
        (series(0.5, 2), False),
        (series(1, 5), False),
        (series(-1, 2), True),
    ],
)
def test_a_leak_is_told_from_noise(values: list[float], is_flat: bool) -> None:
    found = trend(MEASURES["memory"], MINUTES, values)
    assert found.is_flat is is_flat
    assert found.least <= found.growth
    if not is_flat:
        assert found.growth / MB > 10
