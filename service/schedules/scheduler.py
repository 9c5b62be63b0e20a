"""Schedules kept: due times fire, runs move on, notifications go out. Any number of services may do it at once."""

from luthier.service.dispatch.checkpoints import clean_up
from luthier.service.dispatch.claims import Claims
from luthier.service.dispatch.core import Core
from luthier.service.schedules import due_times as ticks
from luthier.service.schedules.runs import Runs
from luthier.service.schedules.webhook import Webhook
from luthier.service.storage.tables import StudyRow


class Scheduler:
    def __init__(self, core: Core, dispatch: Claims, webhook: Webhook | None) -> None:
        self._core, self._webhook = core, webhook
        self._runs = Runs(core, dispatch, webhook is not None)

    def tick(self, now: float | None = None) -> None:
        """One round; `now`: seconds since the epoch, else the database's clock. Cheap when nothing is due."""
        self.ended(ticks.fire(self._core, now))
        self._runs.advance()

    def ended(self, studies: list[StudyRow]) -> None:
        """Clean up after studies that were cancelled for another run."""
        for study in studies:
            clean_up(self._core, study)

    def deliver(self) -> None:
        """Send the notifications that are due."""
        if self._webhook is not None:
            self._webhook.deliver(self._core.database)
