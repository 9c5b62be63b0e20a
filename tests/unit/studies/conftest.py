"""Storages for tests of the search."""

from tests.support.searches import open_again, sqlite

__all__ = ["open_again", "sqlite"]
