"""The client's methods about schedules."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from luthier.service.client.connection import Connection, Spec, body_of
from luthier.service.client.steering import if_match
from luthier.service.download import check_vacant
from luthier.service.schemas import Page, RunView, ScheduleView


class ScheduleMethods(Connection):
    """The methods about schedules; `Client` has them."""

    def create_schedule(self, spec: Spec) -> ScheduleView:
        """Create a schedule; return the existing schedule if the same document created it before.

        Raises:
            ServiceError: 422 for a wrong document, 409 when the name belongs to another schedule.
        """
        return self._transport.model(ScheduleView, "POST", "/v1/schedules", **body_of(spec))

    def schedules(self) -> Iterator[ScheduleView]:
        """Yield all schedules, newest first."""
        return self._transport.pages(Page[ScheduleView], "/v1/schedules")

    def schedule(self, name: str) -> ScheduleView:
        """Return a schedule. Raises ServiceError 404 for an unknown name."""
        return self._transport.model(ScheduleView, "GET", _schedule(name))

    def change_schedule(self, name: str, changes: Mapping[str, Any], etag: str | None = None) -> ScheduleView:
        """Replace some keys of a schedule, each as a whole; None puts a key back to its default.

        With the `etag` of a ScheduleView nothing is changed if somebody else has changed the schedule since.

        Raises:
            ServiceError: 412 when somebody has; 422 for a wrong value.
        """
        return self._transport.model(ScheduleView, "PATCH", _schedule(name), json=dict(changes), headers=if_match(etag))

    def trigger(self, name: str) -> RunView:
        """Run a schedule now, also on unchanged data. Raises ServiceError 409 while another run forbids it."""
        return self._transport.model(RunView, "POST", _schedule(name, "trigger"))

    def runs(self, name: str) -> Iterator[RunView]:
        """Yield every due time of a schedule and its outcome, newest first."""
        return self._transport.pages(Page[RunView], _schedule(name, "runs"))

    def rollback(self, name: str) -> ScheduleView:
        """Put the champion before the present one back into use. Raises ServiceError 409 where there is none."""
        return self._transport.model(ScheduleView, "POST", _schedule(name, "rollback"))

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule, its runs and its champions; the studies of its runs stay."""
        self._transport.request("DELETE", _schedule(name))

    def download_champion(self, name: str, into: Path | str) -> Path:
        """Put the model that a schedule has in use now at `into`. Returns and raises as `download_model` does."""
        into = Path(into)
        check_vacant(into)
        return self._download(_schedule(name, "champion"), None, into)


def _schedule(name: str, *rest: str) -> str:
    return "/".join(("/v1/schedules", *(quote(part, safe="") for part in (name, *rest))))
