"""Old trials as a study keeps them until it is inspected, and what became of them then.

The service stores both as JSON beside the study, so the fields keep their names for ever. `successor.py` decides.
"""

from typing import Any

from pydantic import Field

from luthier.studies.protocol import Reason, TrialState
from luthier.studies.results import Inspection
from luthier.studies.spec import StudySpec
from luthier.studies.wire import FileRef, Message, Metrics


class OldScores(Message):
    """An evaluation of an old trial."""

    step: int
    metrics: Metrics
    at: float


class OldTrial(Message):
    """A trial that ended before the new study began.

    Attributes:
        number: in its study; of a file, the place of its row, from 0.
        best: the weights of its best evaluation, while they are kept, in the folder of `assignment`.
    """

    number: int
    params: dict[str, Any]
    state: TrialState = TrialState.COMPLETE
    value: float | None = None
    reason: Reason | None = None
    error: str | None = None
    seed: int | None = None
    step: int = 0
    best_step: int | None = None
    scores: list[OldScores] = Field([])
    assignment: int | None = None
    best: FileRef | None = None


class OldTrials(Message):
    """The old trials that a new study may take over."""

    trials: list[OldTrial]


class Predecessor(Message):
    """The study that old trials ran in, as it was when the new one was created."""

    study: str
    id: int
    spec: StudySpec
    inspection: Inspection
    test_looks: int


class Taken(Message):
    """What became of an old trial.

    Attributes:
        from_trial: its number in the old study, or the place of its row in the file, from 0.
        trial: its number in the new one; None where it was dropped.
        whole: it was taken over with its scores; False: its configuration is run anew, or it was dropped.
        why: what was changed, or why it was dropped; "" for nothing.
    """

    from_trial: int
    trial: int | None = None
    whole: bool = False
    why: str = ""


class Takeover(Message):
    """What became of all old trials.

    Attributes:
        study: the study that they ran in; None for those of elsewhere.
        reason: why none of them could be taken over whole; None where that was possible, or not asked for.
        taken: each of them.
    """

    study: str | None = None
    reason: str | None = None
    taken: list[Taken] = Field([])
