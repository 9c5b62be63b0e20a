"""Hyperparameters of which -1 stands for what something else has: other numbers below 0 have no meaning.

`spec_problems` asks for them. Workers take whatever is below 0 for -1, so a study of older semantics goes on as it
began.
"""

from collections.abc import Iterator

from luthier.studies.dimensions import Range
from luthier.studies.documents import Path
from luthier.studies.hyperparameters import HYPERPARAMETERS, Scalar
from luthier.studies.space import Space

OWN = -1
_FINE = 1_000_000  # values of a lattice: with more of them, steps are so small that some lie between -1 and 0


def own_value_problems(space: Space) -> Iterator[tuple[Path, str]]:
    """Yield each dimension with values between -1 and 0, and the cure."""
    for name, d in space.items():
        h = HYPERPARAMETERS.get(name)
        if h is None or h.kind != "float" or h.low != OWN:
            continue
        values = d if isinstance(d, tuple) else (d,)
        for i, value in enumerate(values):
            if _is_between(value):
                path: Path = ("space", name, i) if isinstance(d, tuple) else ("space", name)
                cure = "; a range begins at 0, and choices may add -1" if isinstance(value, Range) else ""
                yield path, f"must be {OWN}, or from 0 to {h.high:g}{cure}. {h.about}"


def _is_between(d: Range | Scalar) -> bool:
    """Return whether a value, or some value of a range, lies between -1 and 0."""
    if not isinstance(d, Range):
        return not isinstance(d, str) and OWN < d < 0
    if d.low >= 0 or isinstance(d.high, str):
        return False
    if not d.finite or d.count > _FINE:
        return True
    return any(OWN < value < 0 for value in d.values())
