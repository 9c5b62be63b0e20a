"""Studies in somebody's own Optuna storage, read for an import: their space, their trials. Nothing is written there."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from luthier.studies.importers.draft import Draft
from luthier.studies.importers.names import hyperparameter

SQLITE_START = b"SQLite format 3\0"
_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


def is_storage(text: str) -> bool:
    """Return whether a text names a database, or a file that is one or a journal of Optuna's."""
    if "://" in text:
        return True
    try:
        with Path(text).open("rb") as file:
            start = file.read(64)
    except OSError:
        return False
    return start.startswith(SQLITE_START) or start.startswith(b'{"op_code"')


def read_storage(text: str, name: str | None) -> Draft:
    """Return the draft of a study with its trials.

    Args:
        text: A file (SQLite, or a journal), or a URL of SQLAlchemy.
        name: The study's; None where the storage has one alone.

    Raises:
        ValueError: The storage cannot be read, or has no such study.
    """
    try:
        storage = _opened(text)
        names = optuna.get_all_study_names(storage)
    except Exception as error:  # Optuna's, its database's and its drivers' errors are of many kinds
        raise ValueError(f"it cannot be read as a storage of Optuna: {type(error).__name__}") from None
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        shown = ", ".join(names[:20])
        wanted = "name one with --study" if name is None else f"there is no study {name}"
        raise ValueError(f"{wanted}: it has {shown}" if names else "it has no study")
    return _draft(optuna.load_study(study_name=name, storage=storage))


def _opened(text: str) -> BaseStorage:
    """Open a storage so that nothing can be written to a file."""
    if "://" in text:
        return RDBStorage(text, skip_table_creation=True)
    with Path(text).open("rb") as file:
        if file.read(len(SQLITE_START)) != SQLITE_START:
            return JournalStorage(JournalFileBackend(text))
    quoted = quote(quote(str(Path(text).resolve())))  # SQLAlchemy takes one layer away, SQLite the other
    return RDBStorage(f"sqlite:///file:{quoted}?mode=ro&uri=true", skip_table_creation=True)


def _draft(study: optuna.Study) -> Draft:
    draft = Draft("a study of Optuna")
    draft.put(("name",), study.study_name)
    if len(study.directions) > 1:
        draft.leave("directions", "a study here has one objective; the values of the first are taken")
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        names = study.metric_names or []
    maximize = study.directions[0].name == "MAXIMIZE"
    if names:
        draft.objective(("metric_names", 0), names[0], maximize)
    else:
        draft.leave(
            "direction", f"the objective has no name ({'more' if maximize else 'less'} is better): give a metric"
        )
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    for name, distributions in _distributions(trials).items():
        _dimension(draft, name, distributions)
    for trial in trials:
        values = {"number": trial.number, "state": _STATES[trial.state.name]}
        values["value"] = trial.values[0] if trial.values else None
        kept = {ours: value for name, value in trial.params.items() if (ours := hyperparameter(name))}
        draft.trials.append(values | {f"params.{name}": value for name, value in kept.items()})
    draft.put(("budget", "trials"), max(1, len(trials)))
    return draft


def _distributions(trials: Sequence[optuna.trial.FrozenTrial]) -> dict[str, list[BaseDistribution]]:
    found: dict[str, list[BaseDistribution]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            known = found.setdefault(name, [])
            if distribution not in known:
                known.append(distribution)
    return found


def _dimension(draft: Draft, name: str, distributions: Sequence[BaseDistribution]) -> None:
    """Take a parameter's widest range, or all of its choices."""
    path = ("params", name)
    choices: dict[Any, None] = {}
    for one in distributions:
        choices.update(dict.fromkeys(one.choices if isinstance(one, CategoricalDistribution) else ()))
    if choices:
        draft.choices(path, name, list(choices))
        return
    ranges = [one for one in distributions if isinstance(one, FloatDistribution | IntDistribution)]
    low, high = min(one.low for one in ranges), max(one.high for one in ranges)
    steps = {one.step for one in ranges if one.step != 1 or isinstance(one, FloatDistribution)}
    draft.range(path, name, low, high, log=ranges[0].log, step=steps.pop() if len(steps) == 1 else None)
