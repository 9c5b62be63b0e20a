"""The pauses between repetitions of a request, while the service is away.

The worker's client makes one for each request. Tenacity and stamina are not used: the header Retry-After and the one
warning per outage would each be a callback there, no shorter than the class, and each worker would need one more
package.
"""

import asyncio
import logging
import random
from collections.abc import Mapping

import httpx

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1  # before the first repetition; doubles up to:
LONGEST_PAUSE_SECONDS = 1.5  # well below any lease: after an outage of the service a lease is renewed in time
LONGEST_RETRY_AFTER_SECONDS = 60.0


class Pause:
    """The pauses between repetitions: doubling, capped, with jitter. The first one logs that the service is away."""

    def __init__(self) -> None:
        self.seconds = FIRST_PAUSE_SECONDS

    async def wait(self, problem: str, response: httpx.Response | None = None) -> None:
        """Wait for the service.

        Args:
            problem: Why it is away, in words.
            response: Its answer, if it gave one, which may say how long to wait.
        """
        level = logging.WARNING if self.seconds == FIRST_PAUSE_SECONDS else logging.DEBUG
        log.log(level, "The service is away (%s); trying again until it is back.", problem)
        asked = _retry_after(response.headers) if response is not None else 0.0
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads many workers, guards nothing
        await asyncio.sleep(max(asked, self.seconds * jitter))
        self.seconds = min(self.seconds * 2, LONGEST_PAUSE_SECONDS)


def _retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds of a Retry-After header; 0 without one, or if it holds a date."""
    try:
        return min(max(float(headers.get("Retry-After", "0")), 0.0), LONGEST_RETRY_AFTER_SECONDS)
    except ValueError:
        return 0.0
