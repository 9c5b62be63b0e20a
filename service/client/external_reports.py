"""The client's methods that report and tell trials of external studies by the token of their lease."""

import math
from collections.abc import Mapping
from typing import Any, Literal, SupportsFloat

from luthier.service.client.connection import Connection
from luthier.service.client.trials import study_path
from luthier.service.schemas import TrialView
from luthier.studies.protocol import Answer, Decision

State = Literal["complete", "pruned", "failed", "released"]
Failure = Literal["oom", "diverged", "timeout", "error"]


class ReportMethods(Connection):
    """The methods that take a token; `ExternalTrial` calls them for a trial that was asked for."""

    def report(
        self,
        name: str,
        token: str,
        step: int | None = None,
        metrics: Mapping[str, SupportsFloat] | None = None,
        checkpoint: str | None = None,
        log: str = "",
    ) -> Decision:
        """Report an evaluation of a trial by its token, and return whether to go on; without a step renew its lease.

        `ExternalTrial.report` does so for a trial that `ask` returned; its arguments say more.

        Raises:
            ServiceError: 409 where the lease is over; 422 where the objective is missing or a name is none.
        """
        body: dict[str, Any] = {"token": token, "log": log} | ({} if checkpoint is None else {"checkpoint": checkpoint})
        body |= {} if step is None else {"step": step, "metrics": _finite(metrics or {})}
        return self._transport.model(Answer, "POST", study_path(name, "report"), json=body).decision

    def tell(
        self,
        name: str,
        token: str,
        state: State = "complete",
        value: SupportsFloat | None = None,
        metrics: Mapping[str, SupportsFloat] | None = None,
        reason: Failure | None = None,
        message: str | None = None,
        log: str = "",
    ) -> TrialView:
        """Tell the end of a trial by its token, and return the trial.

        Args:
            name: the study's name.
            token: of the trial's lease.
            state: complete, pruned, failed, or released: given back, for another trainer to continue.
            value: the final score; one that is not finite ends the trial as diverged. None: that of its reports.
            metrics: further final scores.
            reason: of a failure.
            message: the same for people.
            log: last lines of the trial's log.

        Raises:
            ServiceError: 409 where the lease is over; 422 where a complete trial has no score.
        """
        body: dict[str, Any] = {"token": token, "state": state, "metrics": _finite(metrics or {}), "log": log}
        body |= {} if value is None else {"value": _finite({"value": value})["value"]}
        body |= {key: said for key, said in (("reason", reason), ("message", message)) if said is not None}
        return self._transport.model(TrialView, "POST", study_path(name, "tell"), json=body)


def _finite(scores: Mapping[str, SupportsFloat]) -> dict[str, float | None]:
    """Return scores as JSON can hold them: None for what is not finite. Raises TypeError for what is no number."""
    finite: dict[str, float | None] = {}
    for name, score in scores.items():
        try:
            number = float(score)
        except (TypeError, ValueError):
            raise TypeError(f"{name} is {score!r}, and must be a number.") from None
        finite[name] = number if math.isfinite(number) else None
    return finite
