"""Downloading a model: what is damaged or reaches outside is refused, and leaves nothing behind."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from luthier.service.client import Client, ServiceError
from luthier.service.download import DownloadError
from luthier.service.schemas import Counts, ModelView, StudyView
from luthier.studies.protocol import StudyState
from tests.support.play import packed

Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server whose one study has the given bytes for a model; returns its URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(archive: bytes, sha256: str | None = None) -> str:
        digest = sha256 or hashlib.sha256(archive).hexdigest()
        study = StudyView(
            name="one",
            state=StudyState.COMPLETED,
            created_at=datetime.now(UTC),
            spec={},
            counts=Counts(),
            model=ModelView(url="/v1/studies/one/model", sha256=digest, bytes=len(archive)),
        )

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = archive if self.path.endswith("/model") else study.model_dump_json().encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _special(kind: bytes, name: str, target: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        tar.addfile(member)
        inside = tarfile.TarInfo(f"{name}/evil")
        inside.size = 4
        tar.addfile(inside, io.BytesIO(b"evil"))
    return out.getvalue()


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (packed({"config.json": b"{}", "../evil": b"evil"}), "outside"),
        (packed({"a/../../evil": b"evil"}), "outside"),
        (packed({"/tmp/luthier-evil": b"evil"}), "outside"),
        (_special(tarfile.SYMTYPE, "link", ".."), "not a regular file"),
        (_special(tarfile.LNKTYPE, "link", "../../evil"), "not a regular file"),
        (_special(tarfile.FIFOTYPE, "pipe"), "not a regular file"),
        (packed({"same": b"1"} | {"./same": b"2"}), "cannot be unpacked"),
        (packed({"config.json": b"{}" * 5000})[:-40], "cannot be unpacked"),
        (b"not an archive", "cannot be unpacked"),
    ],
)
def test_an_archive_that_is_no_models_is_refused(serve: Serve, tmp_path: Path, archive: bytes, said: str) -> None:
    with Client(serve(archive)) as client, pytest.raises(DownloadError, match=said):
        client.download_model("one", tmp_path / "in" / "model")
    assert list(tmp_path.rglob("*")) == [tmp_path / "in"]
    assert not Path("/tmp/luthier-evil").exists()


def test_a_wrong_checksum_is_refused(serve: Serve, tmp_path: Path) -> None:
    url = serve(packed({"config.json": b"{}"}), sha256="0" * 64)
    with Client(url) as client, pytest.raises(DownloadError, match="SHA-256"):
        client.download_model("one", tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_directory_is_filled_and_a_link_or_a_file_is_not(serve: Serve, tmp_path: Path) -> None:
    with Client(serve(packed({"config.json": b"{}"}))) as client:
        (tmp_path / "empty").mkdir()
        assert client.download_model("one", tmp_path / "empty").joinpath("config.json").read_bytes() == b"{}"
        (tmp_path / "file").write_text("mine")
        (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
        for name in ("file", "dangling", "empty"):
            with pytest.raises(FileExistsError, match="not an empty directory"):
                client.download_model("one", tmp_path / name)


def test_an_answer_that_is_not_luthiers_is_a_sentence(serve: Serve) -> None:
    # The server answers any path that ends with /model with these bytes: a study of that name is a web page.
    with Client(serve(b"<html>It works!</html>")) as client, pytest.raises(ServiceError, match="check the URL"):
        client.get("model")
