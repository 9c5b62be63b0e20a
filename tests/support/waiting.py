"""Waiting in tests for another process or thread: ask again and again until a deadline."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")


def until(condition: Callable[[], Value], seconds: float = 10.0, pause_seconds: float = 0.02) -> Value:
    """Ask until the condition is true.

    Args:
        condition: It is called again and again; an exception that it raises ends the wait.
        seconds: The deadline, from now.
        pause_seconds: The time between two questions.

    Returns:
        The condition's first true value.

    Raises:
        AssertionError: The deadline passed.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"The condition was not met within {seconds} s."
        time.sleep(pause_seconds)


def ended(pid: int) -> bool:
    """Return whether a process has ended; a zombie counts as ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Return True as soon as the process has ended; fail when it has not within so many seconds."""
    return until(lambda: ended(pid), seconds)
