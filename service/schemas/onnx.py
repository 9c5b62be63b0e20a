"""ONNX files of winners, as the REST interface answers them."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, FiniteFloat


class OnnxFile(BaseModel):
    """The archive of a winner as an ONNX file, a .tar.gz: `onnx/model.onnx` beside configuration and processor.

    Attributes:
        url: its path, relative to the service.
        sha256: its checksum, in hexadecimal digits.
        bytes: its size.
    """

    url: str
    sha256: str
    bytes: int


class OnnxView(BaseModel):
    """The ONNX file of a study's winner: asked for, in the making, or there.

    Attributes:
        study: the study's name.
        trial: the number of the winner's trial.
        state: queued, running, complete, failed; cancelled with its study.
        rows: of the data, to which the file gave torch's answers before anybody got it; null until it is complete.
        difference: the largest between an output of the file and torch's, by the size of that above 1.
        error: why there is none, with the cure.
        attempt: how many times a worker has begun it.
        worker: the name of the worker that has it or had it last.
        seconds: time that workers have spent on it.
        file: the archive; null until it is complete.
    """

    study: str
    trial: int
    state: Literal["queued", "running", "complete", "failed", "cancelled"]
    rows: int | None = None
    difference: FiniteFloat | None = None
    error: str | None = None
    attempt: int = 0
    worker: str | None = None
    created_at: AwareDatetime
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    seconds: FiniteFloat = 0.0
    file: OnnxFile | None = None
