"""The data of server-sent events, beside the views that REST answers."""

from typing import Literal

from pydantic import BaseModel

from luthier.service.schemas.trials import TrialView
from luthier.studies.wire import Metrics


class TrialEvent(TrialView):
    """A trial that is new or has another state, as REST shows it.

    Attributes:
        study: the name of its study.
    """

    study: str


class TrialGone(BaseModel):
    """A trial that was deleted.

    Attributes:
        study: the name of its study.
        number: its number.
        deleted: always true.
    """

    study: str
    number: int
    deleted: Literal[True]


class StudyGone(BaseModel):
    """A study that was deleted; its own stream ends with it.

    Attributes:
        name: its name.
        deleted: always true.
    """

    name: str
    deleted: Literal[True]


class ReportEvent(BaseModel):
    """An evaluation of a trial on the validation split.

    Attributes:
        study: the name of the study.
        number: the trial's number.
        step: the number of the evaluation, from 1.
        metrics: metric -> score.
    """

    study: str
    number: int
    step: int
    metrics: Metrics


class LogEvent(BaseModel):
    """Lines that were added to a trial's log.

    Attributes:
        study: the name of the study.
        number: the trial's number.
        offset: where the lines begin in the log, in bytes of UTF-8.
        end: where they end.
        text: the lines.
        last: the trial has ended, and this is all that it has printed.
    """

    study: str
    number: int
    offset: int
    end: int
    text: str
    last: bool = False


class ResetEvent(BaseModel):
    """The events after the given id are not there any more: what was known has to be read again.

    Attributes:
        reason: a sentence for people.
    """

    reason: str
