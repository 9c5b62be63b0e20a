"""How many trials ran at once: by the changes of our rows, and by the journals of their workers."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from tests.faults.journal import Entry

Change = tuple[float, int]  # a moment, and by how many more ran from then on


def of_edges(edges: Iterable[Any], ids: set[int]) -> list[Change]:
    """Return the changes by which these assignments began and ceased to run, by their place in the database's order."""
    changes: list[Change] = []
    for place, edge in enumerate(edges):
        if edge.what == "luthier_assignment" and edge.row_id in ids:
            changes.append((float(place), (edge.new == "running") - (edge.old == "running")))
    return changes


def of_entries(entries: Iterable[Entry], counts: Callable[[Entry], bool]) -> list[Change]:
    """Return the changes by which trials were certainly held, as their workers wrote down.

    A worker holds its trial from the answer to its claim on, and until it sent the last message that was accepted under
    the same lease: the service would have refused that message, had the lease been over.

    Args:
        entries: of all journals.
        counts: which claims count.
    """
    begun: dict[tuple[int, str], float] = {}
    ended: dict[tuple[int, str], float] = {}
    for entry in sorted(entries, key=lambda entry: entry.sent):
        lease = (entry.id, entry.token)
        if entry.route == "claim" and entry.status == 200 and entry.kind == "train" and counts(entry):
            begun[lease] = entry.answered
        elif entry.route != "claim" and entry.accepted and lease in begun:
            ended[lease] = entry.sent
    held = [(begun[lease], end) for lease, end in ended.items() if end > begun[lease]]
    return [change for begin, end in held for change in ((begin, 1), (end, -1))]


def most_at_once(changes: list[Change]) -> int:
    """Return how many there were at most."""
    return max(itertools.accumulate(change for _, change in sorted(changes)), default=0)
