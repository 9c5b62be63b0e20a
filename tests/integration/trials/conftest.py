"""Assignments over a tiny model and data set."""

from tests.support.trials import assign, data, model, one_thread, session

__all__ = ["assign", "data", "model", "one_thread", "session"]
