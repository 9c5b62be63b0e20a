"""Assignments over a tiny model and data set."""

import pytest

from tests.support.trials import assign, data, model, one_thread, session

pytest.register_assert_rewrite("tests.support.task_contract", "tests.support.task_study")

__all__ = ["assign", "data", "model", "one_thread", "session"]
