"""The spec of a study that runs a trial of another one again, or its whole search; for `luthier rerun`.

A trial's scores follow from its configuration and its seed, and from the spec's data, splits, model and way of
training; all of these stay. What only bounds or steers the search goes, so that the one trial runs to its end.
"""

import re
from collections.abc import Mapping
from typing import Any

from luthier.studies.spec import StudySpec

WARM = ("from", "from_", "warm_start")  # keys by which a study takes over what another one found
LONGEST_NAME = 63


def rerun_name(name: str, number: int | None) -> str:
    """Return the name of the study that runs trial `number` of another study again; None: its whole search."""
    ending = "-rerun" if number is None else f"-rerun-{number}"
    return f"{name[: LONGEST_NAME - len(ending)]}{ending}"


def trial_spec(spec: StudySpec, name: str, number: int) -> dict[str, Any]:
    """Return the spec of a study for one trial of another study.

    It has the baseline, trial 0, and room for the trial itself where that is another one. Its space is the study's, so
    that data and models are inspected as they were.

    Args:
        spec: the study's.
        name: of the new study.
        number: the trial's.
    """
    document = _as_written(spec, name)
    document |= {"budget": {"trials": 1 if number == 0 else 2}, "pruner": {"name": "none"}, "parallel": 1}
    document |= {"sampler": {"name": "random"}, "confirm": None}
    return {key: value for key, value in document.items() if key not in WARM}


def search_spec(spec: StudySpec, name: str) -> dict[str, Any]:
    """Return the spec of a study that has another one's search again."""
    return _as_written(spec, name)


def warm_key(spec: StudySpec) -> str | None:
    """Return the key by which a study took over what another one found, which a new one cannot; None without one."""
    return None if spec.origin is None else "from"  # what warm_start names is written out


def with_paths(document: Mapping[str, Any], data: str | None, model: str | None) -> dict[str, Any]:
    """Return a spec with its data or its model elsewhere.

    Args:
        document: the spec.
        data: where its data is now; None: where it was.
        model: where its model is now; None: where it was.

    Raises:
        ValueError: it has several sources, or several models; the message says what to do.
    """
    changed = dict(document)
    if data is not None:
        if not isinstance(document["dataset"]["source"], str):
            raise ValueError("has its splits in several files, which one path cannot replace: put them where they were")
        changed["dataset"] = {**document["dataset"], "source": data}
    if model is not None:
        if not isinstance(document["model"], str):
            raise ValueError("searches several models, which one path cannot replace: put them where they were")
        changed["model"] = model
    return changed


def _as_written(spec: StudySpec, name: str) -> dict[str, Any]:
    """Return a spec under another name, without what stands in it twice: its preset is written out."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
        raise ValueError(f"{name[:80]} is no name for a study: small letters, digits and -, at most {LONGEST_NAME}")
    document = spec.model_dump(mode="json", by_alias=True)
    return {key: value for key, value in document.items() if key not in ("preset", "semantics")} | {"name": name}
