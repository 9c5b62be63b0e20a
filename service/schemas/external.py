"""Trials that trainers of the user's own ask for, as the REST interface answers them."""

from pydantic import BaseModel, FiniteFloat

from luthier.studies.hyperparameters import Params


class ResumeView(BaseModel):
    """What earlier attempts at a trial have reported: where it can continue.

    Attributes:
        step: the last step that was reported; 0 where none was. Reports of steps that are known change nothing.
        best_step: the step of its best score; null where it has none.
        best_value: that score.
        checkpoint: what the trainer said of where it can continue, as it said it; null where it said nothing.
    """

    step: int = 0
    best_step: int | None = None
    best_value: FiniteFloat | None = None
    checkpoint: str | None = None


class AskedTrialView(BaseModel):
    """A trial of an external study, leased to who asked for it.

    Attributes:
        study: the study's name.
        number: the trial's.
        params: its configuration.
        seed: for everything random in it.
        token: of the lease; each report, and the end, must carry it.
        attempt: 1 for the first; more where an earlier trainer vanished or gave it back.
        lease_seconds: how long the lease lasts without a message; then the trial may be given to another.
        steps: the last step that a trial reports, where the study says it.
        resume: where it can continue.
    """

    study: str
    number: int
    params: Params
    seed: int
    token: str
    attempt: int
    lease_seconds: FiniteFloat
    steps: int | None = None
    resume: ResumeView = ResumeView()


class WaitView(BaseModel):
    """No trial may start now.

    Attributes:
        message: why, as a sentence.
        retry_after_seconds: when to ask again.
    """

    message: str
    retry_after_seconds: int
