"""The intervals of a running service."""

from luthier.service.server.timings import DEFAULT, Timings


def test_three_looks_fit_into_a_lease() -> None:
    assert DEFAULT.reaper_interval(lease_seconds=30) == 1.0
    assert DEFAULT.reaper_interval(lease_seconds=1.5) == 0.5
    assert Timings(reaper_seconds=0.1).reaper_interval(lease_seconds=30) == 0.1
