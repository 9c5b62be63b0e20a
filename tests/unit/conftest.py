"""Unit tests start no process that serves or trains: each has a few seconds."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
SECONDS = 5
# The first use of torch, also by Optuna's sampler gp, loads code; a test of two processes waits for their imports.
LONGER_SECONDS = 40
DATABASES = {"sqlite_url", "database_url", "empty_url"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Limit the time of each unit test; the time of its fixtures is not counted."""
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            longer = HERE / "trials" in item.path.parents or DATABASES & set(getattr(item, "fixturenames", ()))
            item.add_marker(pytest.mark.timeout(LONGER_SECONDS if longer else SECONDS, func_only=True))
