"""A few faults on each database in `make test`; every kind of fault once in `make test-faults`."""

from pathlib import Path

import pytest

from tests.faults import kinds, rounds
from tests.faults.kinds.registry import FAULTS, Fault
from tests.faults.plan import CYCLE
from tests.faults.setting import Setting
from tests.faults.templates import Templates
from tests.support.tiers import a_few

assert kinds.__all__
A_FEW = {
    "sqlite": ("an answer is lost", "a message comes twice at once", "a worker is killed", "a service is killed"),
    "postgres": (
        "a request is lost",
        "an answer is cut in half",
        "Postgres ends the connections",
        "a service is killed",
    ),
}


def check(templates: Templates, folder: Path, setting: Setting, faults: list[Fault]) -> None:
    lacking = [fault for fault in faults if fault.lack() is not None]
    result = rounds.run(templates, folder, setting, [fault for fault in faults if fault not in lacking], seed=1)
    assert result.violations == []
    assert len(result.injected) == len(faults) - len(lacking)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.full)])
def test_a_few_faults_break_nothing(templates: Templates, tmp_path: Path, database: str) -> None:
    faults = [fault for name in A_FEW[database] for fault in FAULTS if fault.name == name]
    assert len(faults) == len(A_FEW[database])
    check(templates, tmp_path / "round", Setting(database, trials=6, hands=3), faults)


def _each_once() -> list[tuple[str, Setting]]:
    """Return each kind of fault with a setting that it suits, one after another, so that all settings get some."""
    settings = list(dict.fromkeys(CYCLE))
    chosen = []
    for number, fault in enumerate(FAULTS):
        suited = [setting for setting in settings if fault.suits(setting)]
        chosen.append((fault.name, suited[number % len(suited)]))
    return chosen


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "setting"), a_few(99, _each_once()))
def test_each_kind_of_fault_breaks_nothing(templates: Templates, tmp_path: Path, name: str, setting: Setting) -> None:
    (fault,) = [fault for fault in FAULTS if fault.name == name]
    if (why := fault.lack()) is not None:
        pytest.skip(why)
    check(templates, tmp_path / "round", setting, [fault])
