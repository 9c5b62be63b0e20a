"""The connection of a client to one service: opened from arguments or the environment, and closed; specs; downloads.

`Client` and its parts are built on it. It knows no route.
"""

import os
import tempfile
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from luthier.service.client.old_trials import with_file_read
from luthier.service.client.transport import Transport
from luthier.service.download import receive, unpack
from luthier.studies.documents import decode, load_document

DEFAULT_SERVER = "http://127.0.0.1:8000"
FILES = (".yaml", ".yml", ".json")  # how the name of a spec's file ends, where it is given as text

Spec = str | Path | Mapping[str, Any]  # a file, YAML or JSON text, or the parsed document


class Connection:
    """The service at a URL; a context manager that closes its connections.

    Attributes:
        url: the service's.
        project_name: of the project that each request names; None: the token's own.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        timeout_seconds: float = 60.0,
        project: str | None = None,
        ca: str | Path | None = None,
        proxy: str | None = None,
        client_cert: str | Path | None = None,
    ) -> None:
        """Open no connection yet.

        Args:
            url: the service, as http://127.0.0.1:8000; None for LUTHIER_SERVER, else that one.
            token: the service's token; None for LUTHIER_TOKEN, "" for none.
            timeout_seconds: how long to wait to connect, and for each part of an answer.
            project: whose studies, schedules and data sets it is about; None for LUTHIER_PROJECT, "" (and where that is
                not set) for the token's own.
            ca: a PEM file of the authorities that are trusted, or a folder of some; None for LUTHIER_CA, else
                SSL_CERT_FILE or SSL_CERT_DIR, else the public ones.
            proxy: the proxy between, as http://proxy:3128; None for HTTPS_PROXY, HTTP_PROXY and NO_PROXY. A service
                on this machine's loopback is never asked through one.
            client_cert: a PEM file with a certificate of yours and its key; None for LUTHIER_CLIENT_CERT.

        Raises:
            Unreachable: `url` is no URL; `Blocked` where `ca`, `proxy` or `client_cert` cannot be used.
        """
        url = url or os.environ.get("LUTHIER_SERVER") or DEFAULT_SERVER
        token = os.environ.get("LUTHIER_TOKEN") if token is None else token
        project = os.environ.get("LUTHIER_PROJECT") if project is None else project
        authority = None if ca is None else str(ca)
        certificate = None if client_cert is None else str(client_cert)
        self._transport = Transport(url, token or None, timeout_seconds, project or None, authority, proxy, certificate)
        self.url = self._transport.url
        self.project_name = project or None

    def __repr__(self) -> str:
        """Return the class and the URL; the token is never shown."""
        return f"{type(self).__name__}({self.url!r})"

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections; the client cannot be used afterwards."""
        self._transport.close()

    def _download(self, path: str, sha256: str | None, into: Path) -> Path:
        """Download and unpack beside `into`, then rename. Without `sha256` the checksum of the answer counts."""
        into.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{into.name}.") as scratch:
            archive = Path(scratch, "model.tar.gz")
            with self._transport.stream(path) as response:
                expected = sha256 or response.headers.get("X-Content-SHA256")
                receive(response.iter_bytes(), archive, expected, f"{self.url}{path}")
            unpack(archive, Path(scratch, "model"))
            Path(scratch, "model").replace(into)
        return into


def stream_async(client: Connection, path: str, **options: Any) -> AbstractAsyncContextManager[httpx.Response]:
    """Return a block that reads the answer of `path` on the event loop; `options` are httpx's."""
    return client._transport.stream_async(path, **options)


def body_of(spec: Spec) -> dict[str, Any]:
    """Return httpx's options that send a document. Raises OSError for a file, ValueError for what is none."""
    if isinstance(spec, str) and "\n" not in spec and spec.lower().endswith(FILES):
        spec = Path(spec)
    if isinstance(spec, Path):
        content = spec.expanduser().read_bytes()
    elif isinstance(spec, str):
        content = spec.encode()
    elif isinstance(spec, Mapping):
        return {"json": with_file_read(spec)}
    else:
        raise ValueError(f"a spec is a file, YAML or JSON text, or a mapping, and not {type(spec).__name__}.")
    if b"from" in content and b"file" in content:
        document = _document(content)
        if document is not None and (read := with_file_read(document)) != document:
            return {"json": read}
    return {"content": content, "headers": {"Content-Type": "application/yaml"}}


def _document(content: bytes) -> dict[str, Any] | None:
    """Return a document that is a mapping; None for a text that is none, which the service refuses with its reason."""
    try:
        document = load_document(decode(content))
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
