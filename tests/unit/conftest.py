"""Unit tests start no process that serves or trains: each has a few seconds."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
SECONDS = 40  # ten times what the longest takes: on a busy machine the first use of torch or scipy alone takes ten


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Limit the time of each unit test; the time of its fixtures is not counted."""
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS, func_only=True))
