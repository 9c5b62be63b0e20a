"""Sizes in settings, as people write them."""

import pytest

from luthier.service.settings import Settings
from luthier.studies.sizes import size_of, told


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("8000000000", 8 * 10**9), ("8GB", 8 * 10**9), (" 7.5 gib", 7.5 * 2**30), ("64MiB", 2**26), ("1B", 1)],
)
def test_a_size_has_a_number_and_perhaps_a_unit(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "GB", "8 gigabytes", "-1", "1e9", "8GB 1", "٣"])
def test_anything_else_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(ValueError, match="as 8000000000, 8GB or 8GiB"):
        size_of(text)


@pytest.mark.parametrize("text", ["99999999999PB", "9" * 400 + ".0PB", "9" * 5000, "9" * 19])
def test_more_than_a_kernel_takes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be less than 8192 PiB"):
        size_of(text)


def test_settings_take_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_TRIAL_MEMORY", "8GiB")
    monkeypatch.setenv("LUTHIER_DISK_RESERVE", "0")
    assert (Settings().trial_memory, Settings().disk_reserve) == (2**33, 0)
    monkeypatch.setenv("LUTHIER_TRIAL_MEMORY", "much")
    with pytest.raises(ValueError, match="8GiB, not 'much'"):
        Settings()


def test_sizes_are_told_in_a_unit_that_suits() -> None:
    assert [told(size) for size in (0, 1023, 2**20, 7.5 * 2**30, 2**60)] == [
        *("0 bytes", "1023 bytes", "1 MiB", "7.5 GiB", "1024 PiB")
    ]
