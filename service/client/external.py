"""The client's methods about external studies, whose trials a trainer of your own asks for, reports and tells.

    for trial in client.external_trials("tuning"):
        with trial:
            model = build(**trial.params)
            for epoch in range(1, 11):
                trial.report(epoch, accuracy=train_and_score(model))
                if trial.should_stop:
                    break

Within `with` the lease is renewed in the background, and the end is told by how the block is left.
"""

import os
import re
import socket
from collections.abc import Iterator
from typing import Any

from luthier.service.client.errors import ServiceError
from luthier.service.client.external_reports import ReportMethods
from luthier.service.client.external_trial import AWAY_SECONDS, Caught, ExternalTrial, patiently
from luthier.service.client.trials import study_path
from luthier.service.schemas import AskedTrialView

WAIT_SECONDS = 20.0  # that one request for a trial waits
FIRST_SECONDS = 10.0  # that a service is waited for which has never answered
ENDED = 410


class ExternalMethods(ReportMethods):
    """The methods about external studies; `Client` has them."""

    def ask(
        self,
        name: str,
        worker: str | None = None,
        wait_seconds: float = 0.0,
        lease_seconds: float | None = None,
        away_seconds: float = AWAY_SECONDS,
        catch: Caught = (),
    ) -> ExternalTrial | None:
        """Return a trial of an external study, leased to this program; None where none may start now.

        Args:
            name: the study's name.
            worker: a name of this program, for people; None for that of the machine and the process.
            wait_seconds: how long to wait for a trial where none may start now; a minute at most.
            lease_seconds: how long the lease is to last without a message; None: as long as the service's workers have.
            away_seconds: how long a service that does not answer is waited for, once the trial runs.
            catch: exceptions that fail the trial and do not leave its `with` block.

        Raises:
            ServiceError: 410 once the study has ended; 409 where it is not external.
        """
        body: dict[str, Any] = {"worker": worker or _own_name(), "wait_seconds": wait_seconds}
        body |= {} if lease_seconds is None else {"lease_seconds": lease_seconds}
        path = study_path(name, "ask")
        response = self._transport.request("POST", path, json=body, timeout=wait_seconds + 60.0)
        if response.status_code == 202:
            return None
        view = AskedTrialView.model_validate_json(response.content)
        return ExternalTrial(self, view, away_seconds, catch)

    def external_trials(
        self,
        name: str,
        worker: str | None = None,
        lease_seconds: float | None = None,
        away_seconds: float = AWAY_SECONDS,
        catch: Caught = (),
    ) -> Iterator[ExternalTrial]:
        """Yield trials of an external study until it has ended, waiting where none may start now.

        Use each with `with`, so that its end is told. The arguments are those of `ask`.
        """
        patience = min(away_seconds, FIRST_SECONDS)  # a wrong URL is said soon
        while True:
            try:
                trial = patiently(
                    lambda: self.ask(name, worker, WAIT_SECONDS, lease_seconds, away_seconds, catch), patience
                )
            except ServiceError as error:
                if error.status == ENDED:
                    return
                raise
            patience = away_seconds
            if trial is not None:
                yield trial


def _own_name() -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).lstrip("._-")[:100]
    return f"{host or 'host'}-{os.getpid()}"
