"""Types of JSON Schema in words, as the pages of specs and of the REST interface share them."""

from collections.abc import Callable
from typing import Any


def choice(schema: dict[str, Any], words: Callable[[dict[str, Any]], str]) -> str | None:
    """Return the words for one of a few values or of a few types, which `words` names; None for all else."""
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(words(option) for option in schema[key]))
    return None
