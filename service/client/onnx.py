"""The client's methods about ONNX files: a winner's is asked for, waited for, and brought.

What is common to the clients with and without an event loop is here, too.
"""

import tempfile
from pathlib import Path

from luthier.service.client.connection import Connection
from luthier.service.client.errors import ServiceError
from luthier.service.client.trials import study_path
from luthier.service.client.watch import Wait
from luthier.service.download import check_vacant
from luthier.service.schemas.onnx import OnnxView

FOLDER, ABOUT = "onnx", "luthier.json"


class OnnxMethods(Connection):
    """The methods about ONNX files; `Client` has them."""

    def export_onnx(
        self, name: str, into: Path | str, timeout_seconds: float | None = None, interval_seconds: float = 1.0
    ) -> Path:
        """Have the winner of a study made an ONNX file, wait for it, and put it at `into`, as `download_onnx` does.

        Args:
            name: the study's name.
            into: a new directory, or the winner's, which gets the folder `onnx`.
            timeout_seconds: how long to wait at most; None for as long as it takes.
            interval_seconds: between two looks.

        Raises:
            ServiceError: 404 or 409 where there is no study or no winner, or its task has none; 422 where the winner
                cannot be exported, with the reason.
            TimeoutError: it has not ended in time; it goes on.
            DownloadError: the archive arrived damaged.
            FileExistsError: `into` exists, and is not the winner's directory.
        """
        check_place(Path(into))
        self.start_onnx(name)
        OnnxWait(name, timeout_seconds, interval_seconds).end(lambda: self.onnx(name))
        return self.download_onnx(name, into)

    def start_onnx(self, name: str) -> OnnxView:
        """Ask for the ONNX file of a study's winner, and return it as it is: queued, or there already."""
        return self._transport.model(OnnxView, "POST", study_path(name, "onnx"))

    def onnx(self, name: str) -> OnnxView:
        """Return the ONNX file of a study's winner as it is now. Raises ServiceError 404 where nobody asked for it."""
        return self._transport.model(OnnxView, "GET", study_path(name, "onnx"))

    def download_onnx(self, name: str, into: Path | str) -> Path:
        """Put the ONNX file of a study's winner, with configuration and processor, at `into`; whole or not at all.

        Args:
            name: the study's name.
            into: a new directory; or the winner's, as `download_model` made it, which gets the folder `onnx`.

        Raises:
            ServiceError: 409 where it is not complete.
            DownloadError: the archive arrived damaged.
            FileExistsError: `into` exists, and is not the winner's directory.
        """
        into = Path(into)
        check_place(into)
        path = study_path(name, "onnx", "file")
        if not (into / ABOUT).is_file():
            return self._download(path, None, into)
        with tempfile.TemporaryDirectory(dir=into, prefix=f".{FOLDER}.") as scratch:
            whole = self._download(path, None, Path(scratch, "new"))
            if (whole / ABOUT).read_bytes() != (into / ABOUT).read_bytes():
                raise FileExistsError(f"{into} holds another model than {name}'s winner; name another directory.")
            if (into / FOLDER).exists():
                (into / FOLDER).replace(Path(scratch, "old"))
            (whole / FOLDER).replace(into / FOLDER)
        return into

    def delete_onnx(self, name: str) -> None:
        """Delete the ONNX file of a study's winner; one in the making is ended."""
        self._transport.request("DELETE", study_path(name, "onnx"))


class OnnxWait(Wait[OnnxView]):
    """A wait for an ONNX file to be there."""

    def __init__(self, name: str, timeout_seconds: float | None, interval_seconds: float) -> None:
        """Begin now; the arguments are those of `OnnxMethods.export_onnx`."""
        super().__init__(f"The ONNX file of {name}", timeout_seconds, interval_seconds)

    def is_over(self, view: OnnxView) -> bool:
        """Return whether the file is there. Raises ServiceError 422 where it cannot be."""
        if view.state in ("failed", "cancelled"):
            raise ServiceError(422, "Not exported", view.error or f"{self._what} is {view.state}.")
        return view.state == "complete"


def check_place(into: Path) -> None:
    """Raise FileExistsError where an ONNX file cannot be put: neither a new or empty directory, nor a model's."""
    if not (into / ABOUT).is_file():
        check_vacant(into)
