"""How exact scores are, as a worker finds it in an evaluation, for tests."""

from typing import Any

INTERVAL = {"low": 0.6, "high": 0.86, "level": 0.95, "method": "wilson"}
BASELINE = {"test": {"accuracy": 0.7, "loss": 0.5}, "interval": INTERVAL | {"low": 0.55, "high": 0.82}}
PAIR = {"split": "test", "examples": 40, "labelled_units": 40, "independent": True, "winner": 0.75, "baseline": 0.7}


def sampling(gained: int, lost: int) -> dict[str, Any]:
    """Return the sampling of a winner that has so many examples right which the baseline has wrong, and the reverse."""
    pair = PAIR | {"gained": gained, "lost": lost}
    return {"standard_error": 0.05, "interval": INTERVAL, "baseline": BASELINE, "pair": pair}
