"""The scheduler of a service: fires due times, advances runs, and delivers notifications.

Threads of the server call it every second. Any number of services may do so at the same time, on one database.
"""

from luthier.service.dispatch.checkpoints import clean_up
from luthier.service.dispatch.core import Core
from luthier.service.schedules import due_times
from luthier.service.schedules.runs import Runs
from luthier.service.schedules.steps import Steps
from luthier.service.schedules.webhook import Webhook
from luthier.service.storage.tables import StudyRow


class Scheduler:
    """The periodic work for schedules. Threads may share it."""

    def __init__(self, core: Core, webhook: Webhook | None) -> None:
        """Make the scheduler of a service; without a webhook it queues and delivers no notifications."""
        self._core = core
        self._webhook = webhook
        self._runs = Runs(core, Steps(core, notifies=webhook is not None))

    def tick(self, now: float | None = None) -> None:
        """Fire the pending due times and advance all runs: a single round, cheap when nothing is due.

        Args:
            now: Seconds since the epoch; None for the database's clock.
        """
        self.clean_up_ended(due_times.fire(self._core, now))
        self._runs.advance()

    def clean_up_ended(self, studies: list[StudyRow]) -> None:
        """Clean up after studies that were cancelled because another run replaced theirs."""
        for study in studies:
            clean_up(self._core, study)

    def deliver(self) -> None:
        """Send the notifications that are due."""
        if self._webhook is not None:
            self._webhook.deliver(self._core.database)
