"""A service that is killed within something that a user asks of one trial or of a study."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from luthier.service.dispatch import onnx_files, own_trials, prune, trial_verbs, waiting_trials
from luthier.service.dispatch.core import Core
from luthier.service.dispatch.requests import Request
from luthier.service.dispatch.search_pool import SearchPool
from luthier.service.dispatch.spent import Spent
from luthier.service.lifecycle import transitions
from luthier.service.server.app import build_core
from luthier.service.settings import Settings
from luthier.service.storage.file_store import FileStore
from luthier.studies.search.search import Search
from tests.support.several_services import FORKS

PLACES: Mapping[str, tuple[Any, str]] = {
    "before Optuna": (Search, "enqueue"),
    "before our rows": (waiting_trials, "insert"),
    "before the commit": (transitions, "settle"),
    "before Optuna is told": (SearchPool, "tell"),
    "before the search forgets": (SearchPool, "forget_trial"),
    "before the model is linked": (FileStore, "link"),
    "before the files go": (FileStore, "remove_assignment"),
    "before the prune commits": (Spent, "forget"),
    "before pruned files go": (Spent, "remove_files"),
}
VERBS: Mapping[str, Callable[..., object]] = {
    "enqueue": lambda core, params, seed, key: own_trials.enqueue(core, "s1", Request(params, seed, key)),
    "retry": lambda core, number: trial_verbs.retry(core, "s1", number),
    "stop": lambda core, number: trial_verbs.stop(core, "s1", number),
    "onnx": lambda core: onnx_files.ask(core, "s1"),
    "prune": lambda core, wish: prune.prune(core, wish, dry_run=False),
    "delete": lambda core, number: trial_verbs.delete(core, "s1", number),
}


def act(home: Path, url: str, place: str, verb: str, arguments: tuple[Any, ...]) -> None:
    """Do what a user asks, and kill this process at the place."""
    owner, name = PLACES[place]
    setattr(owner, name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    core: Core = build_core(Settings(home=home, database_url=SecretStr(url)))
    core.searches.heartbeat()  # as every service does: others then read what it wrote
    VERBS[verb](core, *arguments)


def exit_code_of(home: Path, url: str, place: str, verb: str, *arguments: Any) -> int | None:
    """Run `act` in a process of its own and return its exit code; None where it did not end within 60 s."""
    process = FORKS.Process(target=act, args=(home, url, place, verb, arguments), daemon=True)
    process.start()
    process.join(60)
    return process.exitcode
