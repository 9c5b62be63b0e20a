"""Routes of one trial's verbs: POST .../trials/{number}/stop and /retry, and DELETE .../trials/{number}."""

from fastapi import APIRouter, Response
from pydantic import ValidationError

from luthier.service.api import trials
from luthier.service.api.context import ServiceDep
from luthier.service.api.trials import Number
from luthier.service.dispatch import trial_verbs
from luthier.service.errors import Conflict, Invalid, NotFound, Unavailable, invalid, responses
from luthier.service.schemas import TrialView

router = APIRouter(prefix="/v1/studies/{name}/trials/{number}", tags=["trials"])


@router.post("/stop", responses=responses(NotFound, Conflict, Invalid))
def stop(name: str, number: Number, service: ServiceDep) -> TrialView:
    """Have a trial end at its next evaluation, complete with the best one that it has; a queued one ends at once.

    A queued trial that has no evaluation yet is cancelled.
    """
    trial_verbs.stop(service.core, name, number)
    service.notifier.notify()
    return trials.get(name, number, service)


@router.post("/retry", responses=responses(NotFound, Conflict, Invalid, Unavailable))
def retry(name: str, number: Number, service: ServiceDep, response: Response) -> TrialView:
    """Run the configuration of a failed, cancelled or pruned trial again, with its seed, and return the new trial.

    The new trial says `retry_of`, counts in the budget, and is never pruned. Where such a trial is queued, runs or is
    complete, the call returns that one.
    """
    try:
        again = trial_verbs.retry(service.core, name, number).number
    except ValidationError as error:  # of a row that a hand changed
        raise invalid(error) from None
    service.notifier.notify()
    response.headers["Location"] = f"/v1/studies/{name}/trials/{again}"
    return trials.get(name, again, service)


@router.delete("", status_code=204, responses=responses(NotFound, Conflict, Invalid))
def delete(name: str, number: Number, service: ServiceDep) -> None:
    """Delete a trial that does not run: its files, its scores, and what the search has learned from it.

    Its number is not given again, its place in the budget is free, and its configuration may be drawn again. The
    winner, a champion in use and a baseline with a score are kept.
    """
    trial_verbs.delete(service.core, name, number)
    service.notifier.notify()
