"""The options `--import` and `--warm-start` of `luthier create`: old trials for a spec, of a csv or of a study."""

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
    return _with(text, "--import", "from", {"file": str(file)})


def with_warm_start(text: str, study: str) -> str | dict[str, Any]:
    """Return a spec that begins with the best of a study; a text that is no spec as it is, to be refused.

    Args:
        text: the spec, as YAML or JSON.
        study: the name of the other study.

    Raises:
        CommandError: the spec has a warm start.
    """
    return _with(text, "--warm-start", "warm_start", {"study": study})


def _with(text: str, option: str, key: str, value: dict[str, str]) -> str | dict[str, Any]:
    """Return a spec with a key that an option stands for. Raises CommandError where it has that key."""
    from luthier.studies.documents import load_document

    try:
        document = load_document(text)
    except ValueError:
        return text
    if not isinstance(document, dict):
        return text
    if key in document:
        raise CommandError(USAGE, f"{option}: the spec has a key `{key}` already; keep one of the two.")
    return {**document, key: value}
