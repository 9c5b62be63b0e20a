"""The trackers that are told of a study. One that fails is told no more; the others, and the study, do not notice."""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from luthier.service.trackers.tracker import Tracker

LONGEST = 300  # characters of an error of a library


class Audience:
    """The trackers that are still told.

    Attributes:
        failed: kinds of those that failed.
    """

    def __init__(self, trackers: Mapping[str, Tracker], study: str, complain: Callable[[str], None]) -> None:
        """Take the trackers.

        Args:
            trackers: kind -> tracker.
            study: its name, for the sentences.
            complain: is called with a sentence for each tracker that fails.
        """
        self._trackers = dict(trackers)
        self._study, self._complain = study, complain
        self.failed: list[str] = []

    def __bool__(self) -> bool:
        """Return whether anybody listens."""
        return bool(self._trackers)

    def tell(self, message: Callable[[Tracker], None]) -> None:
        """Call `message` with each tracker."""
        for kind, tracker in list(self._trackers.items()):
            try:
                message(tracker)
            except Exception as error:  # whatever a library raises
                self._leave(kind, tracker, error)

    def close(self) -> None:
        """Let go of all trackers."""
        self.tell(lambda tracker: tracker.close())

    def _leave(self, kind: str, tracker: Tracker, error: Exception) -> None:
        del self._trackers[kind]
        self.failed.append(kind)
        self._complain(
            f"{tracker.title} is told no more of {self._study}: {reason(error, tracker)} The study does not depend on "
            f"it; once that is mended, `luthier track {self._study} --to {kind}` tells all of it, and doubles nothing."
        )
        with suppress(Exception):  # it has failed already, and that was told
            tracker.close()


def reason(error: Exception, tracker: Tracker) -> str:
    """Return a library's error as a short sentence, without an address or a key of the tracker."""
    text = " ".join(str(error).split()) or type(error).__name__
    for variable in tracker.variables:
        for secret in _parts(os.environ.get(variable, "")):
            text = text.replace(secret, f"${variable}")
    text = re.sub(r"//[^/@\s]+@", "//", text)
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} ..."
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _parts(value: str) -> list[str]:
    """Return a secret and, of an address, what of it messages show: host and port, the host, the user, the password."""
    try:
        address = urlsplit(value)
        parts = [address.netloc, address.hostname, address.username, address.password] if address.netloc else []
        parts += [f"port={address.port}", f":{address.port}"] if address.port else []
    except ValueError:
        parts = []
    return sorted(
        {part for part in (value, value.rstrip("/"), *parts) if part and len(part) > 2}, key=len, reverse=True
    )
