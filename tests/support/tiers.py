"""Which cases of a test each tier runs: a few stand for the others in `make test`."""

from collections.abc import Iterable
from typing import Any

import pytest


def a_few(count: int, cases: Iterable[Any], tier: pytest.MarkDecorator = pytest.mark.full) -> list[Any]:
    """Return the cases of a test, of which all but the first ones are left to a later tier.

    Args:
        count: How many `make test` runs.
        cases: What `pytest.mark.parametrize` takes for one or several arguments; a tuple holds several.
        tier: The marker of the others: `full` or `wide`.
    """
    given = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*values, marks=() if i < count else tier) for i, values in enumerate(given)]
