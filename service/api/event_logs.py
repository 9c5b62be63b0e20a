"""The logs that one stream of events follows: from which byte on each is sent, and when it is over.

Logs are files of the store: an event of a log is a part of it, which its bytes name. Nothing of a log is in the
database.
"""

import math
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.api.event_feed import Feed
from luthier.service.api.event_views import Event
from luthier.service.schemas.events import LogEvent
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.protocol import FINISHED, AssignmentKind, TrialState

MOST_LOGS = 100  # that one stream follows; those of further trials have streams of their own
PART_BYTES = 2**16  # of an event
LAST_SECONDS = 2.0  # after a trial's end, for the lines that its last message brought; they are stored after its end


@dataclass
class Followed:
    """A log that is followed.

    Attributes:
        study_id: the study.
        study: its name.
        number: the trial's number.
        offset: how much was sent, in bytes.
        ended_at: when the stream learned that the trial has ended, by the monotonic clock; None: it has not.
    """

    study_id: int
    study: str
    number: int
    offset: int
    ended_at: float | None = None


class FollowedLogs:
    """The logs of a stream, by assignment."""

    def __init__(self, feed: Feed, project: str, trial: int | None) -> None:
        """Follow nothing yet; later logs of this project, and only of the trial of this number, if one is given."""
        self._feed, self._project, self._trial = feed, project, trial
        self._logs: dict[int, Followed] = {}
        self._over: dict[int, int] = {}  # assignment -> bytes, of logs that were sent to their end

    def begin(self, session: Session, study_id: int | None) -> None:
        """Follow the logs of all trials that run, from their present ends."""
        running = AssignmentRow.state == TrialState.RUNNING
        for row, name in self._rows(session, study_id, running):
            self._add(row.id, Followed(row.study_id, name, row.number, self._size(row)))

    def resume(self, session: Session, offsets: dict[int, int], study_id: int | None) -> None:
        """Follow the logs of an event's id from where they were sent to."""
        for row, name in self._rows(session, study_id, AssignmentRow.id.in_(offsets)):
            ended = time.monotonic() if row.state in FINISHED else None
            self._add(row.id, Followed(row.study_id, name, row.number, offsets[row.id], ended))

    def note(self, event: Event) -> None:
        """Follow a trial that has begun, and note that one has ended."""
        id = event.assignment_id or 0
        if id not in self._logs and event.begun:
            offset = self._over.pop(id, 0)
            self._add(id, Followed(event.study_id, event.study, event.number or 0, offset))
        if id in self._logs:
            self._logs[id].ended_at = time.monotonic() if event.ended else None

    async def due(self) -> AsyncIterator[str]:
        """Yield the JSON of what the logs have that was not sent; each is counted as sent once it is asked for more."""
        store = self._feed.core.store
        for id, log in list(self._logs.items()):
            key = log.study_id, id
            size = self._feed.log_sizes.get(key)
            if size is None:  # it was added after the latest look
                size = await self._feed.in_thread(partial(store.log_size, *key))
            while log.offset < size:
                at = log.offset
                part = await self._feed.in_thread(partial(store.read_log_part, *key, at, PART_BYTES))
                if not part:
                    break
                log.offset += len(part)
                yield self._event(log, at, part)
            if log.ended_at is not None and time.monotonic() - log.ended_at >= LAST_SECONDS:
                self._over[id] = log.offset
                self._remove(id)
                yield self._event(log, log.offset, b"", last=True)

    def patience(self) -> float:
        """Return in how many seconds a log is to be looked at, whether there is news or not."""
        now = time.monotonic()
        ends = (log.ended_at + LAST_SECONDS - now for log in self._logs.values() if log.ended_at is not None)
        return max(min(ends, default=math.inf), 0.01)

    def offsets(self) -> str:
        """Return the logs and their offsets, as an event's id has them."""
        return ",".join(f"{id}:{log.offset}" for id, log in self._logs.items())

    def leave_all(self) -> None:
        """Follow nothing any more."""
        for id in list(self._logs):
            self._remove(id)

    def _rows(self, session: Session, study_id: int | None, *conditions: object) -> Iterable[tuple[AssignmentRow, str]]:
        rows = select(AssignmentRow, StudyRow.name).join(StudyRow).where(AssignmentRow.kind == AssignmentKind.TRAIN)
        rows = rows.where(StudyRow.project == self._project)
        if study_id is not None:
            rows = rows.where(AssignmentRow.study_id == study_id)
        if self._trial is not None:
            rows = rows.where(AssignmentRow.number == self._trial)
        found = session.execute(rows.where(*conditions).order_by(AssignmentRow.id).limit(MOST_LOGS))  # type: ignore[arg-type]
        return [(row, name) for row, name in found]

    def _size(self, row: AssignmentRow) -> int:
        return self._feed.core.store.log_size(row.study_id, row.id)

    def _add(self, id: int, log: Followed) -> None:
        if len(self._logs) < MOST_LOGS:
            self._logs[id] = log
            self._feed.follow((log.study_id, id))

    def _remove(self, id: int) -> None:
        log = self._logs.pop(id)
        self._feed.leave((log.study_id, id))

    @staticmethod
    def _event(log: Followed, at: int, part: bytes, last: bool = False) -> str:
        text = part.decode(errors="replace")
        return LogEvent(
            study=log.study, number=log.number, offset=at, end=at + len(part), text=text, last=last
        ).model_dump_json()
