"""Sizes in bytes as people write them in settings: a number, or a number with a unit.

The service's settings and the workers read them, so that both understand the same.
"""

import re

UNITS = {"": 1, "B": 1} | {
    f"{letter}{suffix}": base**power
    for suffix, base in (("B", 1000), ("iB", 1024))
    for power, letter in enumerate("kMGTP", 1)
}
FOLDED = {unit.lower(): factor for unit, factor in UNITS.items()}
LEAST_TRIAL_MEMORY = 2**28  # a process that has imported torch holds more
LEAST_TRIAL_DISK = 2**20
MOST = 2**63 - 1  # the largest number that the kernel takes as a limit
SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?)\s*([A-Za-z]*)")


def size_of(text: str) -> int:
    """Return the bytes that a text names, such as 8000000000, 8GB or 7.5GiB; units in any case.

    Raises:
        ValueError: It is no size. The text is a clause for people.
    """
    match = SIZE.fullmatch(text.strip())
    factor = FOLDED.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(f"must be a number of bytes, or one with a unit, as 8000000000, 8GB or 8GiB, not {text!r}")
    if len(match[1].partition(".")[0].lstrip("0")) > len(str(MOST)):
        raise ValueError(f"must be less than {told(MOST)}")
    size = int(float(match[1]) * factor) if "." in match[1] else int(match[1]) * factor
    if size > MOST:
        raise ValueError(f"must be less than {told(MOST)}, not {text!r}")
    return size


def told(size: int) -> str:
    """Return a size for people, as 7.5 GiB."""
    number, unit = float(size), "bytes"
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if number < 1024 or unit == "PiB":
            break
        number /= 1024
    return f"{number:.4g} {unit}"
