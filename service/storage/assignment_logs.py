"""The logs of assignments, as their workers send them: a log that cannot be written costs nothing but its lines.

Dispatch appends to them after the message's own transaction, so that a full disk never fails a message.
"""

import logging
import threading

from luthier.service.storage.disk_room import DiskRoom
from luthier.service.storage.file_store import FileStore

log = logging.getLogger("luthier")


class AssignmentLogs:
    """Appends lines to logs in the store. Threads share it."""

    def __init__(self, store: FileStore, room: DiskRoom) -> None:
        """Write to `store`, and tell `room` of a disk that takes nothing."""
        self._store = store
        self._room = room
        self._lock = threading.Lock()  # over the two below
        self._missing: dict[tuple[int, int], int] = {}  # lines of a log that could not be written
        self._failing = False

    def append(self, study_id: int, assignment_id: int, text: str) -> None:
        """Append a worker's lines to its assignment's log, or count them as missing; a later append says how many.

        The service's log has one line an outage. Call it outside of any transaction.
        """
        key = study_id, assignment_id
        with self._lock:
            missing = self._missing.pop(key, 0)
        if not text and not missing:
            return
        note = f"\n[up to {missing} lines lost here: the log could not be written, the disk was full]\n"
        try:
            self._store.append_log(study_id, assignment_id, (note if missing else "") + text)
        except OSError as error:
            self._room.note_store()
            with self._lock:
                self._missing[key] = self._missing.get(key, 0) + missing + len(text.splitlines())
                first, self._failing = not self._failing, True
            if first:
                folder = self._store.folder(study_id, assignment_id)
                log.warning("Lines for the log in %s are lost: %s. Workers go on.", folder, error.strerror)
            return
        self._failing = False
