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

from luthier.studies.importers.documents import SQLITE_START
from luthier.studies.importers.draft import Draft
from luthier.studies.importers.names import hyperparameter

_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


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
    try:
        return _draft(optuna.load_study(study_name=name, storage=storage))
    except Exception as error:  # rows that Optuna did not write
        raise ValueError(f"its study {name} is damaged ({type(error).__name__}): export it anew") from None


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
    draft.put(("name",), study.study_name, ("study_name",))
    if len(study.directions) > 1:
        draft.leave(("directions",), "a study here has one objective; the values of the first are taken")
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        names = study.metric_names or []
    maximize = study.directions[0].name == "MAXIMIZE"
    if names:
        draft.objective(("metric_names", 0), names[0], maximize, ("directions", 0))
    else:
        better = "more" if maximize else "less"
        draft.leave(("direction",), f"the objective has no name ({better} is better): give a metric")
    every = study.get_trials(deepcopy=False)
    trials = [trial for trial in every if trial.state.is_finished()]
    if len(every) > len(trials):
        draft.leave(("trials",), f"{len(every) - len(trials)} of {len(every)} have not ended")
    taken: dict[str, str] = {}  # hyperparameter -> the only parameter that it is read from
    for name, distributions in _distributions(trials).items():
        _dimension(draft, name, distributions)
        if ours := hyperparameter(name):
            taken.setdefault(ours, name)
    for trial in trials:
        values = {"number": trial.number, "state": _STATES[trial.state.name]}
        values["value"] = trial.values[0] if trial.values else None
        params = {f"params.{ours}": trial.params[name] for ours, name in taken.items() if name in trial.params}
        draft.trials.append(values | params)
    draft.put(("budget", "trials"), max(1, len(trials)), ("trials",))
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
    ranges = [one for one in distributions if isinstance(one, FloatDistribution | IntDistribution)]
    if choices:
        if ranges:
            draft.leave((*path, "range"), "it had choices in other trials, which are taken")
        draft.choices(path, name, list(choices))
        return
    if len({one.log for one in ranges}) > 1:
        draft.leave((*path, "log"), "it differs between trials; that of the first is taken")
    low, high = min(one.low for one in ranges), max(one.high for one in ranges)
    steps = {one.step for one in ranges if one.step != 1 or isinstance(one, FloatDistribution)}
    if len(steps) > 1:
        draft.leave((*path, "step"), "it differs between trials; none is taken")
    step = steps.pop() if len(steps) == 1 else None
    draft.range(path, name, low, high, ranges[0].log, step, (*path, "step"))
