"""Configurations of a schedule's earlier run, moved into today's space to be tried first.

The service calls `adapt` before a run's search begins.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luthier.studies.hyperparameters import Params
from luthier.studies.space import Space


@dataclass(frozen=True)
class Adapted:
    """A configuration of an earlier run, moved into today's space."""

    params: Params | None  # None: it does not fit the space
    changes: tuple[str, ...]  # a sentence each


def adapt(params: Mapping[str, Any], space: Space) -> Adapted:
    """Move a configuration of an earlier run into today's space.

    A number outside of the space becomes the nearest one inside, and a dimension that is fixed now takes its value. A
    configuration whose word (an optimizer, a model) is not offered any more does not fit.

    Args:
        params: The configuration, by hyperparameter.
        space: Today's space, resolved.
    """
    clipped = space.clip(dict(params))
    changes = []
    for name, value in clipped.items():
        if name not in params:
            changes.append(f"{name} is new: {value}")
        elif value != params[name]:
            if isinstance(value, str) or isinstance(params[name], str):
                return Adapted(None, (f"{name} {params[name]} is not offered any more",))
            changes.append(f"{name} {params[name]:g} became {value:g}")
    changes += [f"{name} is not searched any more" for name in params if name not in clipped]
    return Adapted(clipped, tuple(changes))
