"""Which acceptance tests are the short slice that `make test` runs, and which are of the commands."""

from pathlib import Path

import pytest

from tests.support.short_slice import SHORT_SLICE

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `full` whatever is not in the short slice, and as `commands` what no other test runs the lines of."""
    for item in items:
        if HERE / "cli" in item.path.parents:
            item.add_marker(pytest.mark.commands)
        if HERE in item.path.parents and item.name.partition("[")[0] not in SHORT_SLICE.get(item.path.name, set()):
            item.add_marker(pytest.mark.full)
