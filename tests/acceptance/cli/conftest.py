"""The command line as a user runs it, and a real service for it to talk to (without workers)."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from luthier.service.server.embedded import Embedded
from luthier.service.settings import Settings

Luthier = Callable[..., "subprocess.CompletedProcess[str]"]

SPEC = """
name: {name}
task: text-classification
model: models/none
dataset: {{source: data/none.csv}}
space: {{learning_rate: {{low: 1e-5, high: 1e-3, log: true}}, batch_size: [8, 16]}}
budget: {{trials: 3}}
"""


@pytest.fixture
def luthier(tmp_path: Path) -> Luthier:
    """Run the command in an empty folder, with nothing of the caller's environment that Luthier reads."""

    def run(*arguments: object, stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        kept = {key: value for key, value in os.environ.items() if not key.startswith("LUTHIER_")}
        return subprocess.run(
            [sys.executable, "-c", "from luthier.service.cli import main; main()", *map(str, arguments)],
            input=stdin,
            cwd=tmp_path,
            env=kept | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"} | environment,
            capture_output=True,
            text=True,
            timeout=100,
        )

    return run


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A service without workers that hands out the work of the study `one`."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    with Embedded(settings, study="one", fleet="none") as running:
        yield running


@pytest.fixture
def served(luthier: Luthier, service: Embedded) -> Luthier:
    """The command line with the service in its environment."""
    return lambda *arguments, **given: luthier(
        *arguments, **{"LUTHIER_SERVER": service.url, "LUTHIER_TOKEN": service.token} | given
    )
