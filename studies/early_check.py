"""The check of a user's configuration before a study's inspection: what is wrong whatever the model and the data are.

The service calls it when a configuration is to wait for the inspection. What the inspection decides (blocks, lengths)
is checked afterwards, by `Space.check`.
"""

from collections.abc import Mapping
from typing import Any

from luthier.studies.dimensions import Dimension, Range
from luthier.studies.documents import Path, refuse
from luthier.studies.hyperparameters import AUTO
from luthier.studies.spec import StudySpec

DEEP = 10_000  # blocks: as many as a freeze depth may be
LENGTH = "max_length"  # a dimension of every resolved space, also where the spec leaves it out


def check_early(spec: StudySpec, params: Mapping[str, Any]) -> None:
    """Check a partial configuration as far as its study's spec alone can tell.

    Raises:
        ValidationError: With the path of each wrong or unknown value.
    """
    later = {name for name, d in spec.space.items() if _has_auto(d)} | ({LENGTH} - set(spec.space))
    space = spec.space.resolved(*[DEEP] * len(spec.models))
    space.check({name: value for name, value in params.items() if name not in later}, partial=True)
    problems: list[tuple[Path, str]] = []
    for name in later & set(params):
        try:
            value = spec.space.vocabulary[name].check(params[name])
        except ValueError as error:
            problems.append((("params", name), str(error)))
        else:
            if value == AUTO:
                problems.append((("params", name), "must be a number: auto is for a study's space"))
    if problems:
        raise refuse("params", *problems)


def _has_auto(d: Dimension) -> bool:
    return AUTO in (d if isinstance(d, tuple) else (d.high if isinstance(d, Range) else d,))
