"""How a client waits for a service that says when to come again (Retry-After), and what it does not wait for.

`Transport` asks after each answer. A request that was refused for its number (429) was not begun, and is sent again
whatever it is; after 503 only one that may be sent twice.
"""

import logging
import time

import httpx

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 30.0  # for one request, all its pauses together
REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})


class Patience:
    """The pauses of one request."""

    def __init__(self, method: str) -> None:
        """Begin with all patience; `method` is the request's."""
        self._left = PATIENCE_SECONDS
        self._may_repeat = method.upper() in REPEATABLE

    def waits(self, response: httpx.Response) -> bool:
        """Wait as an answer asks, and say so; return False, at once, where the answer is to be taken as it is."""
        if response.status_code != 429 and not (response.status_code == 503 and self._may_repeat):
            return False
        seconds = retry_after(response)
        if seconds is None or seconds > self._left:
            return False
        log.warning("%s It asks again in %g s.", _sentence(response), seconds)
        self._left -= max(seconds, 0.1)
        time.sleep(seconds)
        return True


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of an answer's Retry-After; None without one, or where it is no number of seconds."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _sentence(response: httpx.Response) -> str:
    """Return what the service says, or what its status is."""
    try:
        detail = response.json()["detail"]
    except (ValueError, LookupError, TypeError, httpx.ResponseNotRead):
        detail = None
    return detail if isinstance(detail, str) else f"{response.request.url} answered {response.status_code}."
