"""Studies on uploads, trained by a worker that does not share the service's disk; and a service that is killed."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.service.client import Client
from tests.support.architectures import ARCHITECTURES
from tests.support.archives_of_data import zipped
from tests.support.command_line import Luthier, command_in
from tests.support.external_workers import external_worker
from tests.support.raw_http import head
from tests.support.served import Served, spec
from tests.support.tiny import tiny_csv, tiny_image
from tests.support.waiting import until

pytestmark = pytest.mark.full
Serve = Callable[..., Served]
SPACE = {"learning_rate": {"low": 1e-3, "high": 3e-3}, "batch_size": 8, "epochs": 1}


@pytest.fixture
def far(serve: Serve, tmp_path: Path) -> Served:
    """A service whose store no worker can see."""
    served = serve(LUTHIER_FLEET="none")
    (tmp_path / "home" / "store" / ".mark").write_text("of another machine")
    return served


@pytest.fixture
def luthier(far: Served, tmp_path: Path) -> Luthier:
    command = command_in(tmp_path)
    return lambda *arguments, **given: command(*arguments, LUTHIER_SERVER=str(far.client.base_url), **given)


def images(folder: Path) -> bytes:
    """A zip of folders of images, split, in a folder around all of it."""
    folder.mkdir()
    files = {}
    for split, numbers in {"train": range(24), "test": range(24, 36)}.items():
        for i in numbers:
            files[f"halves/{split}/{('left', 'upper')[i % 2]}/{i}.png"] = tiny_image(folder, i, i % 2).read_bytes()
    return zipped(files)


def test_a_table_and_folders_of_images_are_trained_elsewhere(
    far: Served, luthier: Luthier, tiny: Path, tmp_path: Path
) -> None:
    uploaded = luthier("dataset", "upload", tiny_csv(tmp_path / "mine.csv", rows=200), "-o", "json")
    assert uploaded.returncode == 0, uploaded.stderr
    source = json.loads(uploaded.stdout)["source"]
    (tmp_path / "halves.zip").write_bytes(images(tmp_path / "images"))
    with Client(str(far.client.base_url)) as client:
        halves = client.upload_dataset(tmp_path / "halves.zip", "halves")
    model = ARCHITECTURES["vit"].build(tmp_path / "vit")
    table: dict[str, Any] = {"source": source, "validation": 0.2, "test": 0.2}
    pictures: dict[str, Any] = {"source": halves.source, "validation": 0.25, "test": "test"}
    changes: dict[str, Any] = {"space": SPACE, "budget": {"trials": 1}}
    documents = [spec(tiny, "table", dataset=table, **changes)]
    documents.append(spec(tiny, "pictures", task="image-classification", model=str(model), dataset=pictures, **changes))
    elsewhere = {"LUTHIER_HOME": str(tmp_path / "elsewhere"), "LUTHIER_DATA_ROOTS": f"{tiny}:{model}"}
    with external_worker(far, **elsewhere):
        for document in documents:
            far.client.post("/v1/studies", json=document).raise_for_status()
        for document in documents:
            study = far.ended(document["name"])
            assert study["state"] == "completed", study["error"]
            assert study["best"]["test"]["accuracy"] is not None
    assert far.study("pictures")["data"]["rows"]["test"] == 12
    copies = {path.name[:16] for path in (tmp_path / "elsewhere" / "worker" / "datasets").iterdir() if path.is_dir()}
    assert copies == {source.removeprefix("dataset:"), halves.id}
    shown = luthier("dataset", "preview", halves.id)
    assert "left (12), upper (12)" in shown.stdout
    assert "pictures" in luthier("dataset", "list").stdout


def test_a_service_that_is_killed_in_an_upload_lists_nothing_of_it(serve: Serve, tmp_path: Path) -> None:
    served = serve(LUTHIER_FLEET="none")
    store = tmp_path / "home" / "store"
    start = b'--abc\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n' + b"x,y\n" * 2**19
    with socket.create_connection(("127.0.0.1", served.port)) as line:
        form = {"Content_Type": "multipart/form-data; boundary=abc", "Content_Length": "9000000"}
        line.sendall(head("POST", "/v1/datasets", **form) + start)
        until(lambda: any(store.glob(".upload-*.files/data.csv")), 20)
        served.kill()
    assert any(store.glob(".upload-*"))
    served.start()
    assert [path.name for path in store.iterdir()] == [".mark"]
    assert served.client.get("/v1/datasets").json()["items"] == []
