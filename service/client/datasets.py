"""The client's methods about uploaded data sets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from luthier.service.client.connection import Connection
from luthier.service.schemas import DatasetView, Page, PreviewView

UPLOAD_SECONDS = 600.0  # for each part: the service unpacks an archive before it answers
PREVIEW_SECONDS = 200.0


class DatasetMethods(Connection):
    """The methods about data sets; `Client` has them."""

    def upload_dataset(self, path: Path | str, name: str | None = None) -> DatasetView:
        """Upload a table, or an archive of folders and files; return the existing data set of the same content.

        Args:
            path: the file, whose ending says what it is: csv, parquet, zip, tar.gz ...
            name: for people; None: the file's own.

        Raises:
            ServiceError: 413 for a file that is too large, 422 for one that cannot be used, 507 for a full disk.
            OSError: the file cannot be read.
        """
        path = Path(path).expanduser()
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; pack it first, as with: tar -czf {path.name}.tar.gz {path}")
        with path.open("rb") as file:  # httpx reads it in pieces
            form: dict[str, Any] = {"files": {"file": (path.name, file)}, "data": {"name": name} if name else {}}
            return self._transport.model(DatasetView, "POST", "/v1/datasets", timeout=UPLOAD_SECONDS, **form)

    def datasets(self) -> Iterator[DatasetView]:
        """Yield all data sets, newest first, without their files."""
        return self._transport.pages(Page[DatasetView], "/v1/datasets")

    def dataset(self, id: str) -> DatasetView:
        """Return a data set, its files and who uses it. Raises ServiceError 404 for an unknown id."""
        return self._transport.model(DatasetView, "GET", _dataset(id))

    def preview_dataset(self, id: str) -> PreviewView:
        """Return a data set's first rows, its columns, the balance of its classes, and rows that are in two splits."""
        return self._transport.model(PreviewView, "GET", _dataset(id, "preview"), timeout=PREVIEW_SECONDS)

    def delete_dataset(self, id: str) -> None:
        """Delete a data set. Raises ServiceError 409 while an unfinished study or a schedule uses it."""
        self._transport.request("DELETE", _dataset(id))


def _dataset(id: str, *rest: str) -> str:
    return "/".join(("/v1/datasets", quote(id.removeprefix("dataset:"), safe=""), *rest))
