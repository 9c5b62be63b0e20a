"""A study that many threads and processes search at the same time, or one after the other."""

import multiprocessing
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import TrialState
from luthier.studies.search.storage import Storage, init_storage, open_storage
from tests.support.searches import Open, distinct, run, start, train, trials

pytestmark = pytest.mark.both_databases


def continued(url: str, sampler: str, numbers: range, results: "multiprocessing.Queue[Any]") -> None:
    search = start(open_storage(url), sampler={"name": sampler})
    results.put(run(search, numbers))


@pytest.mark.full
@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "qmc", "random"])
def test_the_same_seed_draws_the_same_also_when_another_process_goes_on(
    tmp_path: Path, sqlite: Storage, sampler: str, open_again: Open
) -> None:
    whole = run(start(sqlite, sampler={"name": sampler}), range(24))
    url = f"sqlite:///{tmp_path / 'again.db'}"
    init_storage(url)
    again = run(start(open_again(url), sampler={"name": sampler}), range(12))
    results: multiprocessing.Queue[Any] = multiprocessing.get_context("spawn").Queue()
    child = multiprocessing.get_context("spawn").Process(target=continued, args=(url, sampler, range(12, 24), results))
    child.start()
    again += results.get(timeout=60)
    child.join()
    assert again == whole
    other = run(start(sqlite, name="other", seed=1, sampler={"name": sampler}), range(3))
    assert other[0] == whole[0]
    assert other[1] != whole[1]


def test_reports_and_ends_arrive_from_many_threads(storage: Storage) -> None:
    search = start(storage, pruner={"name": "hyperband"})
    for number in range(12):
        search.ask(number)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in (1, 2, 3):
                search.report(number, step, number / 12)
            search.tell(number, TrialState.COMPLETE, number / 12, None)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [(t.value, sorted(t.intermediate_values)) for t in trials(storage)] == [
        (number / 12, [1, 2, 3]) for number in range(12)
    ]


def take_turns(url: str, mine: int, turns: Any, results: "multiprocessing.Queue[Any]") -> None:
    search = start(open_storage(url))

    def count() -> int:
        search.refresh()  # the other process has written
        return search.count()

    for number in range(20):
        with turns:
            turns.wait_for(lambda: count() >= number)  # noqa: B023 - used at once
            if number % 2 == mine:
                results.put(search.ask(number))
            turns.notify_all()
        if number % 2 == mine:
            search.report(number, 1, 0.5)
            search.tell(number, TrialState.COMPLETE, number / 20, None)
    results.put(None)


@pytest.mark.full
def test_two_processes_share_a_study(database_url: str, open_again: Open) -> None:
    spawn = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[Any] = spawn.Queue()
    turns = spawn.Condition()
    children = [spawn.Process(target=take_turns, args=(database_url, mine, turns, results)) for mine in (0, 1)]
    for child in children:
        child.start()
    asked: list[Params | None] = []
    while asked.count(None) < 2:
        asked.append(results.get(timeout=60))
    for child in children:
        child.join()
    assert len(asked) == 22
    assert len(distinct(asked)) == 20
    assert [t.value for t in trials(open_again(database_url))] == [number / 20 for number in range(20)]


def test_another_process_is_seen_after_a_refresh(storage: Storage, database_url: str, open_again: Open) -> None:
    pruner = {"name": "median", "startup_trials": 1}
    here, there = start(storage, pruner=pruner), start(open_again(database_url), pruner=pruner)
    train(here, 0, [0.5] * 5)
    asked = there.ask(1)
    assert there.report(1, 1, 0.1) is True
    here.refresh()
    assert here.ask(1) == asked
    assert here.unfinished() == [1]
    assert here.report(1, 1, 0.9) is True  # the decision made there
    here.tell(1, TrialState.PRUNED, None, None)
    there.tell(1, TrialState.COMPLETE, 0.9, None)  # without a refresh: the storage knows better
    there.refresh()
    assert there.unfinished() == []
    assert there.count() == 2
    assert [t.value for t in trials(storage)] == [0.5, 0.1]


def test_a_trial_asked_elsewhere_is_adopted_also_without_a_refresh(
    storage: Storage, database_url: str, open_again: Open
) -> None:
    here, there = start(storage), start(open_again(database_url))
    here.ask(0)
    there.ask(1)
    asked = there.ask(2)
    assert here.ask(2) == asked
    with pytest.raises(LookupError, match="has no trial 3"):
        here.report(3, 1, 0.5)


def test_a_study_may_be_opened_by_many_at_the_same_moment(database_url: str, open_again: Open) -> None:
    storages = [open_again(database_url) for _ in range(4)]
    barrier, searches = threading.Barrier(4), []

    def open_it(storage: Storage) -> None:
        barrier.wait()
        searches.append(start(storage))

    threads = [threading.Thread(target=open_it, args=(storage,)) for storage in storages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    searches[0].ask(0)
    assert [search.count() for search in searches] == [1, 1, 1, 1]


@pytest.mark.full
def test_nothing_heavy_is_imported_for_what_does_not_need_it(sqlite_url: str) -> None:
    """Search and plots with TPE, in a process where torch, scikit-learn and scipy cannot be imported."""
    code = f"""
        import sys
        for name in ("torch", "sklearn", "scipy", "cmaes", "pandas"):
            sys.modules[name] = None
        from luthier.studies.protocol import TrialState
        from luthier.studies.search.search import Search
        from luthier.studies.search.storage import open_storage
        from tests.support.specs import spec
        search = Search(open_storage({sqlite_url!r}), spec(), spec().space)
        for number in range(14):
            search.ask(number)
            search.report(number, 1, number / 20)
            search.tell(number, TrialState.COMPLETE, number / 14, None)
        for kind in ("history", "importance", "parallel", "slice", "contour", "intermediate", "timeline"):
            search.plot(kind)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
