"""Numbers in place of `auto` in a dimension, once a worker has inspected model and data.

A space is resolved with them: `freeze_depth` by the model's blocks, `max_length` by the lengths of the inputs.
"""

from collections.abc import Mapping
from typing import Any

from luthier.studies.dimensions import Dimension, Range
from luthier.studies.documents import Path, refuse
from luthier.studies.hyperparameters import AUTO, HYPERPARAMETERS


def with_depth(d: Dimension, blocks: int, path: Path) -> Dimension:
    """Return a freeze depth's dimension with `blocks` in place of `auto`. Raises ValidationError for a deeper one."""
    deepest = f"the model has {blocks} blocks, so at most {blocks}"

    def settle(value: Any) -> int:
        return blocks if value == AUTO else int(value)

    if isinstance(d, Range):
        if settle(d.high) > blocks:
            raise refuse("space", ((*path, "high"), deepest))
        if d.low > blocks:
            raise refuse("space", ((*path, "low"), deepest))
        if d.prior is not None and d.prior > blocks:
            raise refuse("space", ((*path, "prior"), deepest))
        return d.model_copy(update={"high": settle(d.high)})
    if isinstance(d, tuple):
        for i, choice in enumerate(d):
            if settle(choice) > blocks:
                raise refuse("space", ((*path, i), deepest))
        return tuple(dict.fromkeys(settle(choice) for choice in d))
    if settle(d) > blocks:
        raise refuse("space", (path, deepest))
    return settle(d)


def with_length(dimensions: Mapping[str, Dimension], length: int | None) -> dict[str, Dimension]:
    """Return dimensions with a length in place of max_length's `auto`, also where max_length is left out.

    A range whose lower end is above the length becomes that end alone. A prior above the length becomes the length.

    Args:
        dimensions: Of a space.
        length: None: what is left out stays so, and a written `auto` is the default of the oldest semantics.
    """
    name, result = "max_length", dict(dimensions)
    if name not in result and length is None:
        return result
    number = int(HYPERPARAMETERS[name].default) if length is None else length
    d = result.get(name, AUTO)
    if isinstance(d, Range):
        result[name] = _up_to(d, number) if d.high == AUTO else d
    elif isinstance(d, tuple):
        result[name] = tuple(dict.fromkeys(number if choice == AUTO else choice for choice in d))
    else:
        result[name] = number if d == AUTO else d
    return result


def _up_to(d: Range, length: int) -> Range:
    """Return a range whose upper end is a length, at least its lower end."""
    high = max(d.low, length)
    return d.model_copy(update={"high": high, "prior": None if d.prior is None else min(d.prior, high)})
