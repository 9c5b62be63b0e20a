"""The command line as a user runs it, and a real service for it to talk to (without workers)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.service.server.embedded import Embedded
from luthier.service.settings import Settings
from tests.support.command_line import Luthier, command_in


@pytest.fixture
def luthier(tmp_path: Path) -> Luthier:
    """Run the command in an empty folder, with nothing of the caller's environment that Luthier reads."""
    return command_in(tmp_path)


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
