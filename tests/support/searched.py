"""How many inputs a test of properties tries: few and always the same in CI, many and others each time by hand."""

from datetime import timedelta

import hypothesis
import pytest


def searched(few: int, times: int = 100) -> pytest.MarkDecorator:
    """Return the parameter `limits` of a test: settings of hypothesis, for a function inside of it.

    Args:
        few: Inputs in `make test`.
        times: As many times more are tried by `make test-hostile`.
    """
    quiet = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]
    common = {"deadline": timedelta(seconds=20), "database": None, "suppress_health_check": quiet}
    bounded = hypothesis.settings(max_examples=few, derandomize=True, **common)  # type: ignore[arg-type]
    endless = hypothesis.settings(max_examples=few * times, derandomize=False, **common)  # type: ignore[arg-type]
    marks = [pytest.mark.hostile, pytest.mark.timeout(7200)]
    return pytest.mark.parametrize(
        "limits", [pytest.param(bounded, id="few"), pytest.param(endless, id="many", marks=marks)]
    )
