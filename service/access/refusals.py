"""How many requests of each address were refused within a minute: a few are logged, the rest are counted."""

import ipaddress
import time
from collections import Counter

WINDOW_SECONDS = 60.0
WRITTEN = 20  # of an address within the window
ALL_WRITTEN = 200  # of all addresses
ADDRESSES = 100  # that are counted for themselves
OTHERS = ""  # what the rest of them count as


class Refusals:
    """Counts refused requests; whoever uses it holds a lock."""

    def __init__(self) -> None:
        """Begin without any."""
        self._since = time.monotonic()
        self._written: Counter[str] = Counter()  # network -> requests that are written, in this window
        self._counted: Counter[str] = Counter()  # network -> requests that are counted only
        self._ended: list[tuple[str, int]] = []  # of earlier windows: network, requests that were counted only

    def count(self, address: str) -> bool:
        """Count a refused request, and return whether it is to be written."""
        self._look()
        network = network_of(address)
        if self._written[network] < WRITTEN and self._written.total() < ALL_WRITTEN:
            self._written[network] += 1
            return True
        is_own = network in self._counted or len(self._counted) < ADDRESSES
        self._counted[network if is_own else OTHERS] += 1
        return False

    def ended(self) -> list[tuple[str, int]]:
        """Return how many requests were counted only, by network, in windows that have ended since the last call."""
        self._look()
        ended, self._ended = self._ended, []
        return ended

    def _look(self) -> None:
        """Begin a new window where this one is over."""
        now = time.monotonic()
        if now - self._since >= WINDOW_SECONDS:
            self._ended += self._counted.items()
            self._written.clear()
            self._counted.clear()
            self._since = now


def network_of(address: str) -> str:
    """Return the address, or the /64 network of one of version 6: whoever has one such address has all of them."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))
