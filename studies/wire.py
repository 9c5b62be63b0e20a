"""The base of every message between the service and its workers, and the values that messages share.

`protocol.py`, `results.py` and the messages between a worker and its child build on it. It must never name a message.
"""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, Strict


class Message(BaseModel):
    """A message, or a part of one: unknown fields are refused, and nothing is changed once it is read.

    Some fields have a name in JSON, on the wire and in stored rows, that is older than their name in Python: their
    alias. Both names are read, and the alias is written.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )


# Postgres stores no NUL, and the texts of workers often quote their data.
Sentence = Annotated[str, AfterValidator(lambda text: text.replace("\0", "\N{REPLACEMENT CHARACTER}"))]
Bytes = Annotated[int, Field(ge=0, lt=2**63)]
MicroBatch = Annotated[int, Field(ge=1, lt=2**31)]  # examples that fitted in memory together, after more did not
MetricName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@/-]{0,63}$")]
Metrics = dict[MetricName, Annotated[FiniteFloat, Strict()] | None]  # None: the score is not a finite number
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class FileRef(Message):
    """A whole file in the assignment's folder of the service's store."""

    name: FileName
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: Bytes
