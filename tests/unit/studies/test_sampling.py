"""What samplers learn from: the trials before, also those that run, diverged or were pruned."""

import math

import pytest

from luthier.studies.protocol import Reason, TrialState
from luthier.studies.search.samplers import missing_packages
from luthier.studies.search.storage import Storage
from tests.support.searches import GRID, SAMPLERS, distinct, run, score, start
from tests.support.specs import spec
from tests.support.tiers import a_few


@pytest.mark.parametrize(
    ("sampler", "ignored"),
    a_few(1, [("tpe", (TrialState.FAILED, Reason.ERROR)), ("cmaes", (TrialState.PRUNED, None))]),  # teaches it nothing
)
def test_samplers_learn_to_stay_away_from_what_diverged(
    sqlite: Storage, sampler: str, ignored: tuple[TrialState, Reason | None]
) -> None:
    """Above 1e-4 every trial diverges after a promising start; below, the score grows towards it."""

    def diverged(name: str, state: TrialState, reason: Reason | None) -> int:
        search = start(sqlite, name=name, sampler={"name": sampler}, pruner={"name": "none"})
        count = 0
        for number in range(40):
            params = search.ask(number)
            assert params is not None
            rate = math.log10(float(params["learning_rate"]))
            search.report(number, 1, (rate + 6) / 3)
            if rate > -4:
                count += number >= 20
                search.tell(number, state, None, reason)
            else:
                search.tell(number, TrialState.COMPLETE, (rate + 6) / 3, None)
        return count

    assert diverged("marked", TrialState.PRUNED, Reason.DIVERGED) + 5 <= diverged("ignored", *ignored)


@pytest.mark.parametrize("sampler", a_few(1, ["tpe", "cmaes", "gp"]))
def test_a_model_finds_better_configurations_than_chance(sqlite: Storage, sampler: str) -> None:
    def late(name: str) -> float:
        startup = {"startup_trials": 6} if name != "random" else {}
        search = start(sqlite, name=name, sampler={"name": name, **startup}, pruner={"name": "none"})
        scores: list[float] = []
        run(search, range(24), lambda params: scores.append(score(params)) or scores[-1])  # type: ignore[func-returns-value]
        return sum(scores[12:]) / 12

    assert late(sampler) > late("random") + 0.05


def test_running_trials_repel_new_ones(sqlite: Storage) -> None:
    search = start(sqlite, sampler={"name": "tpe", "startup_trials": 4})
    run(search, range(6))
    asked = [search.ask(number) for number in range(6, 30)]
    assert len(distinct(asked)) == 24
    assert search.unfinished() == list(range(6, 30))


def test_missing_packages_are_named_without_importing_any(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(name: str) -> list[str]:
        return missing_packages(spec(sampler={"name": name}, space=GRID))

    assert [of(name) for name in [*SAMPLERS, "gp"]] == [[]] * 6
    monkeypatch.setattr("luthier.studies.search.samplers.find_spec", lambda name: None)
    assert {name: of(name) for name in [*SAMPLERS, "gp"]} == {
        "tpe": [],
        "cmaes": ["cmaes"],
        "qmc": ["scipy"],
        "random": [],
        "grid": [],
        "gp": ["torch", "scipy"],
    }
