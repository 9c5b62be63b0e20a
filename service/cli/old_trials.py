"""The option `--import` of `luthier create`: a csv of old trials for a spec."""

from pathlib import Path
from typing import Any

from luthier.service.cli.connect import USAGE, CommandError


def with_import(text: str, file: Path) -> str | dict[str, Any]:
    """Return a spec that goes on from the old trials in a file; a text that is no spec as it is, to be refused.

    Args:
        text: the spec, as YAML or JSON.
        file: the csv, which the client reads.

    Raises:
        CommandError: the spec names other old trials.
    """
    from luthier.studies.documents import load_document

    try:
        document = load_document(text)
    except ValueError:
        return text
    if not isinstance(document, dict):
        return text
    if "from" in document:
        raise CommandError(USAGE, "--import: the spec has a key `from` already; keep one of the two.")
    return {**document, "from": {"file": str(file)}}
