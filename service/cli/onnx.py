"""The ONNX file of `luthier export --onnx`: a worker makes it of the winner, and it is brought here."""

from pathlib import Path
from typing import TYPE_CHECKING

from luthier.service.cli.connect import FAILURE, INTERRUPTED, USAGE, CommandError, tell
from luthier.service.cli.own_service import OwnService
from luthier.service.cli.predict import POLL_SECONDS, service_of
from luthier.service.cli.stages import Waiting

if TYPE_CHECKING:
    from luthier.service.schemas.onnx import OnnxView


def export_onnx(name: str, into: Path | None, server: str | None, token: str | None) -> None:
    """Have the winner made an ONNX file, and put it into a directory. Raises CommandError, ServiceError."""
    if into is None:
        raise CommandError(USAGE, f"An ONNX file goes into a directory: luthier export {name} --onnx -o winner.")
    from luthier.service.client.onnx import check_place

    try:
        check_place(into)
    except FileExistsError as error:
        raise CommandError(USAGE, str(error)) from None
    try:
        with service_of(name, server, token) as service:
            _bring(service, name, into)
    except KeyboardInterrupt:
        raise CommandError(INTERRUPTED, "Interrupted: no ONNX file was written.") from None


def _bring(service: OwnService, name: str, into: Path) -> None:
    """Ask for the file, wait for it, and write it. Raises CommandError, ServiceError."""
    from luthier.service.client.onnx import OnnxWait

    client = service.client

    def look() -> "OnnxView":
        if service.problem is not None:
            raise CommandError(FAILURE, service.problem)
        return client.onnx(name)

    client.start_onnx(name)
    with Waiting("a worker makes the ONNX file"):
        found = OnnxWait(name, None, POLL_SECONDS).end(look)
    print(client.download_onnx(name, into))
    tell(
        f"onnx/model.onnx gave torch's answers to {found.rows} rows of the data (to {found.difference or 0:.1e}); "
        f"{found.seconds:.1f} s."
    )
