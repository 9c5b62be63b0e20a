"""Column types that store frozen pydantic models: as text, or as JSON.

Used by `tables.py` alone. Later versions must be able to read the columns: no type may change its format.
"""

from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from sqlalchemy import JSON, Text, TypeDecorator
from sqlalchemy.engine import Dialect

from luthier.studies.wire import FileRef


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

    def process_result_value(self, value: str | None, dialect: Dialect) -> BaseModel | None:
        """Return the model of a stored text."""
        return None if value is None else _parse(self.model, value)


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

    def process_result_value(self, value: dict[str, Any] | None, dialect: Dialect) -> BaseModel | None:
        """Return the model of a stored object."""
        return None if value is None else self.model.model_validate(value)


class StoredModel(FileRef):
    """The packed model of a study's winner, and the assignment in whose folder of the store it lies."""

    assignment: int

    @property
    def file(self) -> FileRef:
        """The file alone, as messages and champions name it."""
        return FileRef(name=self.name, sha256=self.sha256, bytes=self.bytes)
