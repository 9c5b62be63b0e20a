"""The machine: which addresses are its own, and which cores and memory its container may use."""

import os
from pathlib import Path

import pytest

from luthier.studies.host import is_loopback, memory_limit, memory_usage, usable_cores


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost", "127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "::ffff:127.0.0.1"]
)
def test_loopback_is_every_address_of_this_machine_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "128.0.0.1", "192.0.2.1", "::ffff:192.0.2.1", "::ffff:127", "127.1", "localhost.evil"],
)
def test_no_other_address_is_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("files", "limit", "usage"),
    [
        ({"memory.max": "8000000000\n", "memory.current": "123\n"}, 8_000_000_000, 123),
        ({"memory.max": "max\n", "memory.current": "123\n"}, None, 123),
        ({}, None, None),
    ],
)
def test_memory_is_what_the_container_says(
    tmp_path: Path, files: dict[str, str], limit: int | None, usage: int | None
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert (memory_limit(tmp_path), memory_usage(tmp_path)) == (limit, usage)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "900000 100000\n"}, 4),
        ({"cpu.max": "max 100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({}, 4),
    ],
)
def test_cores_are_those_that_the_container_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    (tmp_path / "cpu").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert usable_cores(tmp_path) == cores
