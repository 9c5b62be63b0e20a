"""Documents that people write: their base class, parsing of YAML and JSON, refusal of wrong values.

Specs and schedules are documents. Each problem names the path of the value, as in `space.learning_rate.low`. PyYAML,
which Optuna needs anyway, is adapted here: a YAML 1.2 library such as ruamel.yaml would refuse keys given twice itself,
but reads `yes` and `.5e3` as text and 012 as 12, so that documents which are valid today would change their meaning.
"""

import re
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from luthier.studies.text import one_line

Path = tuple[str | int, ...]  # of a value in a document: keys, and positions in lists


class Document(BaseModel):
    """A document of a user's, or a part of one: unknown keys are refused, and it is frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def error_details(path: Path, text: str) -> list[InitErrorDetails]:
    """Return pydantic's form of one problem: the value at `path` is wrong, and `text` says what would be right."""
    return [InitErrorDetails(type=PydanticCustomError("value", "{text}", {"text": text}), loc=path, input=None)]


def refuse(title: str, *problems: tuple[Path, str]) -> ValidationError:
    """Return the error to raise for wrong values; pydantic puts the path of the part that raises it before theirs.

    Args:
        title: The name of the document or of its part.
        problems: A path within it and a text that says what would be right, for each wrong value.
    """
    return ValidationError.from_exception_data(
        title, [detail for path, text in problems for detail in error_details(path, text)]
    )


class _Loader(yaml.SafeLoader):
    """YAML 1.1 in which 1e-6 is a number too, as in YAML 1.2, and which refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.YAMLError(f"line {key_node.start_mark.line + 1}: {key} is given twice")
            seen.add(key if isinstance(key, str) else repr(key))
        return super().construct_mapping(node, deep)


_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def load_document(text: str) -> Any:
    """Parse YAML, or JSON, which is a subset of it. Raises ValueError that names the line."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"not valid YAML or JSON: {one_line(error, None)}") from None
