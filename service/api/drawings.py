"""Plots that were drawn, kept until what they show has changed; one is drawn at a time.

Drawing takes up to some seconds of a core and some 100 MB, and has to leave the other requests their threads. So those
that want a plot wait on the event loop, for a while; whoever's turn comes finds it drawn if another wanted the same.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

from luthier.service.errors import Unavailable

WAIT_SECONDS = 5.0  # for the turn to draw
RETRY_SECONDS = 2
KEPT_BYTES = 32 * 2**20  # of all plots together; one has a few MB at most

Key = tuple[str, int, str]  # what has the plot, its id, the plot
Version = tuple[int, ...]
Figure = TypeVar("Figure", str, bytes)  # plotly's JSON, or a picture


@dataclass(frozen=True)
class _Kept:
    version: Version
    drawn_at: float  # by the monotonic clock
    figure: Any  # str or bytes, as its key says


class Drawings:
    """The plots of one service. Its methods belong to the event loop; what draws runs in a thread."""

    def __init__(self) -> None:
        """Begin with no plot."""
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()  # the least recently used first
        self._turn = asyncio.Semaphore(1)  # two would hinder each other: most of drawing is Python

    async def get(
        self, key: Key, version: Version, draw: Callable[[], tuple[Version, Figure]], max_age: float | None = None
    ) -> Figure:
        """Return a plot, kept or drawn now.

        Args:
            key: which plot.
            version: of what it shows; a plot of another version is drawn anew.
            draw: draws it, in a thread; it returns the version that it has drawn, which may lag behind or be ahead.
            max_age: seconds after which it is drawn anew nevertheless; None: never.

        Raises:
            Unavailable: others were drawn all the while.
        """
        kept: Figure | None = self._find(key, version, max_age)
        if kept is not None:
            return kept
        try:
            await asyncio.wait_for(self._turn.acquire(), WAIT_SECONDS)
        except TimeoutError:
            raise Unavailable(
                "Other plots are being drawn; ask again in a moment.", retry_after=RETRY_SECONDS
            ) from None
        try:
            kept = self._find(key, version, max_age)  # another request may have drawn it
            if kept is not None:
                return kept
            drawn, figure = await run_in_threadpool(draw)
            self._keep(key, _Kept(drawn, time.monotonic(), figure))
            return figure
        finally:
            self._turn.release()

    def _find(self, key: Key, version: Version, max_age: float | None) -> Any:
        kept = self._kept.get(key)
        if kept is None or kept.version != version:
            return None
        if max_age is not None and time.monotonic() - kept.drawn_at > max_age:
            return None
        self._kept.move_to_end(key)
        return kept.figure

    def _keep(self, key: Key, drawn: _Kept) -> None:
        self._kept[key] = drawn
        self._kept.move_to_end(key)
        while sum(len(kept.figure) for kept in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
