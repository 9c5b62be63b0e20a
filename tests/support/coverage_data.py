"""Keeps what coverage measured in a process that ends by SIGKILL; does nothing in a run without coverage."""

import os
import sys


def measured() -> bool:
    """Return whether coverage measures this run."""
    return "COVERAGE_PROCESS_CONFIG" in os.environ


def save_before_kill() -> None:
    """Save this process's data before it kills its own group, which is how a worker's child ends."""
    if not measured() or "coverage" not in sys.modules:
        return
    current = sys.modules["coverage"].Coverage.current()
    kill = os.killpg

    def save_and_kill(group: int, number: int) -> None:
        if current is not None:
            current.stop()
            current.save()
        kill(group, number)

    os.killpg = save_and_kill
