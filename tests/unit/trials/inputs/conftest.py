"""Fixtures of the tests of models."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT."""
    return Path(shutil.copytree(model, tmp_path / "copy"))
