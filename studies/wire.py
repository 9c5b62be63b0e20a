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


TEXT_CHARACTERS = 4_000  # of a sentence: longer ones are cut
CUT = " \N{HORIZONTAL ELLIPSIS} (cut)"
LARGEST_SCORE = 1e100  # sums and squares of such scores are finite too
LONGEST_SECONDS = 1e10  # three centuries
FASTEST = 1e12  # examples per second
MOST_BYTES = 2**50  # a pebibyte


def cut(text: str, characters: int) -> str:
    """Return a text with at most so many characters; a longer one ends with `CUT`."""
    return text if len(text) <= characters else text[: characters - len(CUT)] + CUT


def _as_sentence(text: str) -> str:
    return cut(text.replace("\0", "\N{REPLACEMENT CHARACTER}"), TEXT_CHARACTERS)  # Postgres stores no NUL


def _as_score(value: float | None) -> float | None:
    return None if value is None or not abs(value) <= LARGEST_SCORE else value


# What a worker says about its work beyond these bounds is brought inside them: a refusal would lose the work's result.
Sentence = Annotated[str, AfterValidator(_as_sentence)]  # it may quote a worker's data
Bytes = Annotated[int, Field(ge=0, lt=2**63), AfterValidator(lambda count: min(count, MOST_BYTES))]
Seconds = Annotated[FiniteFloat, Field(ge=0), AfterValidator(lambda seconds: min(seconds, LONGEST_SECONDS))]
Speed = Annotated[FiniteFloat, Field(ge=0), AfterValidator(lambda speed: min(speed, FASTEST))]  # examples per second
Count = Annotated[int, Field(ge=0, lt=2**53)]  # exact also where JSON's numbers are floats
MicroBatch = Annotated[int, Field(ge=1, lt=2**31)]  # examples that fitted in memory together, after more did not
WORKER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$"
METRIC_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.@/-]{0,63}$"
MetricName = Annotated[str, Field(pattern=METRIC_NAME)]
# None: the score is not a finite number, or so large that sums of such scores would not be.
Score = Annotated[Annotated[FiniteFloat, Strict()] | None, AfterValidator(_as_score)]
MOST_METRICS = 100
Metrics = Annotated[dict[MetricName, Score], Field(max_length=MOST_METRICS)]
Library = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+!-]{0,49}$")]
Libraries = Annotated[dict[Library, Library], Field(max_length=10)]  # name -> version
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class DatasetRef(Message):
    """An uploaded data set that a spec names: the file as it was uploaded, and how it is read.

    Its files lie in the folder `studies.uploads.store_folder(id)` of the service's store.
    """

    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    kind: str = Field(pattern=r"^[a-z0-9.]{1,20}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: Bytes
    unpacked_bytes: Bytes  # of its files together


class FileRef(Message):
    """A whole file in the assignment's folder of the service's store."""

    name: FileName
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: Bytes
