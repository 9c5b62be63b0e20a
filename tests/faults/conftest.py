"""What the tests of the harness share: templates of databases, made once."""

from collections.abc import Iterator

import pytest

from tests.faults.templates import Templates


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Templates]:
    templates = Templates(tmp_path_factory.mktemp("templates"))
    yield templates
    templates.close()
