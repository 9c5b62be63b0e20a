"""`luthier dataset ...` and the client's methods against a real service."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from luthier.service.client import AsyncClient, Client, ServiceError
from luthier.service.schemas import DatasetView
from tests.support.archives_of_data import pictures, zipped
from tests.support.command_line import Luthier
from tests.support.harness import Running, running
from tests.support.tiny import tiny_csv


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("home"), None, dataset_max_bytes=10**6) as house:
        yield house


@pytest.fixture
def command(luthier: Luthier, house: Running) -> Callable[..., str]:
    """Standard output and error of `luthier dataset ...`, which must exit with `code`."""

    def run(*arguments: object, code: int = 0) -> str:
        done = luthier("dataset", *arguments, LUTHIER_SERVER=house.url)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run


def test_one_is_uploaded_shown_previewed_and_deleted(command: Callable[..., str], tmp_path: Path) -> None:
    tiny_csv(tmp_path / "mine.csv", rows=40)
    uploaded = json.loads(command("upload", "mine.csv", "--name", "my reviews", "-o", "json"))
    id = uploaded["id"]
    assert "my reviews" in command("list")
    assert command("list", "-o", "name").strip() == id, "what the other commands take"
    assert f"source: dataset:{id}" in command("get", id)
    shown = command("preview", f"dataset:{id}")
    assert "train: 40 rows" in shown
    assert "joy (20), anger (20)" in shown
    assert "was deleted" in command("delete", id)


def test_what_cannot_be_uploaded_is_told(command: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "tar -czf folder.tar.gz" in command("upload", "folder", code=2)
    (tmp_path / "large.csv").write_bytes(b"text,label\n" * 10**6)
    assert "at most 1,000,000 bytes" in command("upload", "large.csv", code=2)


def test_the_client_and_its_twin(house: Running, tmp_path: Path) -> None:
    (tmp_path / "pets.zip").write_bytes(zipped(pictures()))
    with Client(house.url) as client:
        view = client.upload_dataset(str(tmp_path / "pets.zip"))
        assert client.dataset(view.source) == view
        assert client.preview_dataset(view.id).splits[0].columns[1].values[0].rows == 4
        assert [found.id for found in client.datasets()] == [view.id]

        async def twin() -> list[DatasetView]:
            async with AsyncClient(house.url) as other:
                assert await other.upload_dataset(tmp_path / "pets.zip") == view
                assert await other.dataset(view.id) == view
                await other.delete_dataset(view.id)
                return [found async for found in other.datasets()]

        assert asyncio.run(twin()) == []
        with pytest.raises(ServiceError, match="There is no data set") as missing:
            client.delete_dataset(view.id)
        assert missing.value.status == 404
