"""The client's methods that steer one trial, and those that change what users write about a study."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from luthier.service.client.connection import Connection
from luthier.service.client.rows import texts
from luthier.service.schemas import StudyView, TrialView


class SteeringMethods(Connection):
    """The methods about single trials, tags and notes; `Client` has them."""

    def stop_trial(self, name: str, number: int) -> TrialView:
        """Have a trial end at its next evaluation, complete with its best one; a queued one ends at once.

        Raises:
            ServiceError: 409 when it has ended already.
        """
        return self._transport.model(TrialView, "POST", _trial(name, number, "stop"))

    def retry_trial(self, name: str, number: int) -> TrialView:
        """Run a failed, cancelled or pruned trial's configuration again with its seed; return the new trial.

        Raises:
            ServiceError: 409 when the trial runs or is complete, or the study takes no trial.
        """
        return self._transport.model(TrialView, "POST", _trial(name, number, "retry"))

    def delete_trial(self, name: str, number: int) -> None:
        """Delete a trial, its files, and what the search has learned from it.

        Raises:
            ServiceError: 409 when it runs, or the study's result rests on it.
        """
        self._transport.request("DELETE", _trial(name, number))

    def update(
        self,
        name: str,
        tags: Iterable[str] | None = None,
        notes: str | None = None,
        parallel: int | None = None,
        etag: str | None = None,
        weight: float | None = None,
        priority: int | None = None,
    ) -> StudyView:
        """Change a study's tags, notes, number of trials that may run at once, or share; None leaves one as it is.

        Args:
            name: the study's name.
            tags: short texts, in place of those it has.
            notes: plain text, in place of what it has.
            parallel: trials that may run at the same time from now on.
            weight: its share of the workers' time, beside other studies of its project and priority.
            priority: a higher one goes first, within its project.
            etag: of a StudyView: change nothing if somebody else has changed one of these since.

        Raises:
            ServiceError: 412 when somebody has; 422 for a wrong value.
        """
        changes: dict[str, Any] = {"tags": None if tags is None else texts(tags), "notes": notes, "parallel": parallel}
        changes |= {"weight": weight, "priority": priority}
        given = {key: value for key, value in changes.items() if value is not None}
        return self._transport.model(
            StudyView, "PATCH", f"/v1/studies/{quote(name, safe='')}", json=given, headers=if_match(etag)
        )


def if_match(etag: str | None) -> Mapping[str, str]:
    """Return the header that makes a change depend on an entity tag; empty without one."""
    return {} if etag is None else {"If-Match": etag}


def _trial(name: str, number: int, *verb: str) -> str:
    parts: tuple[Any, ...] = (name, "trials", number, *verb)
    return "/".join(("/v1/studies", *(quote(str(part), safe="") for part in parts)))
