"""Searches for tests, over databases that are opened as other processes would open them."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import optuna
import pytest

from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import TrialState
from luthier.studies.search.search import Search
from luthier.studies.search.storage import Storage, close_storage, open_storage
from tests.support.specs import SPACE, spec

GRID = {"batch_size": [8, 16, 32], "epochs": {"low": 1, "high": 4}, "optimizer": ["adamw", "sgd"]}  # 24 points
FIVE_EPOCHS = SPACE | {"epochs": 5}
SAMPLERS = ["tpe", "cmaes", "qmc", "random", "grid"]  # and gp, which has tests of its own: importing torch takes long
Open = Callable[[str], Storage]


@pytest.fixture
def open_again() -> Iterator[Open]:
    """Return a function that opens storages as other processes would; they are closed at the test's end."""
    with ExitStack() as stack:

        def open_it(url: str) -> Storage:
            storage = open_storage(url)
            stack.callback(close_storage, storage)
            return storage

        yield open_it


@pytest.fixture
def storage(database_url: str, open_again: Open) -> Storage:
    """Return an empty storage on each database."""
    return open_again(database_url)


@pytest.fixture
def sqlite(sqlite_url: str, open_again: Open) -> Storage:
    """Return an empty storage on SQLite."""
    return open_again(sqlite_url)


def start(storage: Storage, **changes: Any) -> Search:
    """Open the search of a study, with top-level keys of its spec replaced, over a model of six blocks."""
    s = spec(**changes)
    return Search(storage, s, s.space.resolved(6))


def score(params: Params) -> float:
    """Return a score that is best, 1.0, at a learning rate of 1e-4."""
    return 1 - abs(math.log10(float(params.get("learning_rate", 1e-4))) + 4) / 3 - float(params["epochs"]) / 100


def run(search: Search, numbers: range, end: Callable[[Params], float] = score) -> list[Params | None]:
    """Ask for trials, one after another, and tell their ends."""
    asked = []
    for number in numbers:
        params = search.ask(number)
        asked.append(params)
        if params is not None:
            search.tell(number, TrialState.COMPLETE, end(params), None)
    return asked


def distinct(asked: list[Params | None]) -> set[str]:
    """Return each configuration once."""
    return {json.dumps(params) for params in asked if params is not None}


def train(search: Search, number: int, curve: list[float]) -> int | None:
    """Report a curve of scores, and return the step at which the trial was pruned, or None."""
    search.ask(number)
    for step, value in enumerate(curve, start=1):
        if search.report(number, step, value):
            search.tell(number, TrialState.PRUNED, None, None)
            return step
    search.tell(number, TrialState.COMPLETE, curve[-1], None)
    return None


def trials(storage: Storage) -> list[optuna.trial.FrozenTrial]:
    """Return Optuna's own trials of the study."""
    return optuna.load_study(study_name="sms-spam", storage=storage).trials
