"""Column types: frozen pydantic models as text or JSON, and numbers that workers said.

Used by `tables.py` alone. Later versions must be able to read the columns: no type may change its format. A value that
cannot be read, because it was damaged or a newer version wrote it, becomes an `Unreadable`, so that the rows beside it
can be read. A number that cannot be true, which older versions stored as they were told, counts as none.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from sqlalchemy import JSON, Double, Text, TypeDecorator
from sqlalchemy.engine import Dialect

from luthier.service.errors import Conflict
from luthier.studies.text import one_line
from luthier.studies.wire import LARGEST_SCORE, LONGEST_SECONDS, MOST_METRICS, FileRef


class UnreadableValue(Conflict):
    """A row holds a value that this version of the service cannot read, and that is needed here."""

    title = "Unreadable"


class Unreadable:
    """A stored value that cannot be read; every use of it raises UnreadableValue.

    Attributes:
        stored: the value as it is stored: a text, or what its JSON says.
        why: the reason, as a sentence.
    """

    def __init__(self, stored: Any, error: Exception) -> None:
        """Stand for a value that could not be read because of `error`."""
        self.stored = stored
        self.why = f"A stored value cannot be read by this version of Luthier ({one_line(error, 200)})."

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse every attribute that a readable value would have."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise UnreadableValue(self.why)


def read_json(text: str | bytes) -> Any:
    """Return the value of a stored JSON text; the engine reads JSON columns by it."""
    try:
        return from_json(text)
    except ValueError:  # the faster reader refuses some texts that Python's own has written
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            return Unreadable(text, error)


@lru_cache(maxsize=512)
def _parse(model: type[BaseModel], text: str) -> BaseModel:
    """Return the model of a JSON text; frozen, as callers share it."""
    return model.model_validate_json(text)


class PydanticText(TypeDecorator[BaseModel]):
    """A frozen pydantic model in a text column. Equal texts are parsed once, as specs are read on every request."""

    impl = Text
    cache_ok = True

    def __init__(self, model: type[BaseModel]) -> None:
        """Make the type of a column that holds instances of `model`."""
        super().__init__()
        self.model = model

    def process_bind_param(self, value: BaseModel | None, dialect: Dialect) -> str | None:
        """Return the text to store."""
        return None if value is None else value.model_dump_json()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Return the model of a stored text, or an Unreadable."""
        try:
            return None if value is None else _parse(self.model, value)
        except ValidationError as error:
            return Unreadable(value, error)


class PydanticJson(TypeDecorator[BaseModel]):
    """A frozen pydantic model in a JSON column: the object's keys are the model's fields, in their order."""

    impl = JSON
    cache_ok = True

    def __init__(self, model: type[BaseModel]) -> None:
        """Make the type of a column that holds instances of exactly `model`; None is stored as NULL."""
        super().__init__(none_as_null=True)
        self.model = model

    def process_bind_param(self, value: BaseModel | None, dialect: Dialect) -> dict[str, Any] | None:
        """Return the object to store. Raises TypeError for a subclass, whose further keys could not be read back."""
        if value is None:
            return None
        if type(value) is not self.model:
            raise TypeError(f"The column holds {self.model.__name__}, not {type(value).__name__}.")
        return value.model_dump(mode="json")

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Return the model of a stored object, or an Unreadable."""
        try:
            return value if value is None or isinstance(value, Unreadable) else self.model.model_validate(value)
        except ValidationError as error:
            return Unreadable(value, error)


class ScoreNumber(TypeDecorator[float]):
    """A score or a rate; None where it is so large that it is none, or no number at all."""

    impl = Double
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> float | None:
        """Return the stored number, or None."""
        return score(value)


class SecondsNumber(TypeDecorator[float]):
    """Seconds of work; 0 where a row has a number that cannot be, as centuries."""

    impl = Double
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> float:
        """Return the stored number, or 0."""
        return float(value) if isinstance(value, int | float) and 0 <= value <= LONGEST_SECONDS else 0.0


class ScoresJson(TypeDecorator[dict[str, Any]]):
    """Metrics: name -> score; each None where it is none, and no more of them than a report may have."""

    impl = JSON
    cache_ok = True

    def __init__(self) -> None:
        """Make the type of a column; None is stored as NULL."""
        super().__init__(none_as_null=True)

    def process_result_value(self, value: Any, dialect: Dialect) -> dict[str, Any] | None:
        """Return the stored scores; no metrics where they cannot be read."""
        if value is None:
            return None
        stored = value if isinstance(value, Mapping) else {}
        return {name: score(number) for name, number in islice(stored.items(), MOST_METRICS)}


def score(value: Any) -> float | None:
    """Return a stored score, or None where it is none."""
    return value if isinstance(value, int | float) and abs(value) <= LARGEST_SCORE else None


class StoredModel(FileRef):
    """The packed model of a study's winner, and the assignment in whose folder of the store it lies."""

    assignment: int

    @property
    def file(self) -> FileRef:
        """The file alone, as messages and champions name it."""
        return FileRef(name=self.name, sha256=self.sha256, bytes=self.bytes)
