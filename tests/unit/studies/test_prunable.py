"""How many trials a pruner can end early: the bound of a plan beside Optuna's own pruners, asked by real searches."""

import json
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage

from luthier.studies.hyperparameters import Params, complete
from luthier.studies.protocol import TrialState
from luthier.studies.prunable import first_decision, prunable_trials
from luthier.studies.schedule import ScheduleSpec, parse_schedule
from luthier.studies.search.feasibility import search_problems
from luthier.studies.search.search import Search
from luthier.studies.semantics import COMPARED_BY_SHARE, NEWEST_SEMANTICS
from luthier.studies.spec import StudySpec, parse_spec
from luthier.studies.strategy import LEAST_VALUES
from tests.support.specs import document

RATES = {"low": 1e-6, "high": 1e-3, "log": True}


def new_spec(semantics: int = NEWEST_SEMANTICS, **changes: Any) -> StudySpec:
    """Return the spec that a user sends, with the newest semantics."""
    return StudySpec.model_validate({**document(), "semantics": semantics, **changes})


def evaluations(spec: StudySpec, params: Params) -> int:
    return int(complete(params, spec.task_info.baseline)["epochs"]) * spec.evaluations_per_epoch


def configurations(spec: StudySpec, rng: random.Random) -> list[Params]:
    """Return all configurations of a finite space but the baseline's, else some of each length, in any order."""
    size = spec.space.size()
    if size is not None:
        every = [spec.space.configuration(i) for i in range(size)]
    else:
        epochs = spec.space["epochs"]
        lengths = epochs if isinstance(epochs, tuple) else (epochs,)
        rates = [1e-6 * (1 + i / 100) for i in range(40)]
        every = [{"learning_rate": rate, "epochs": lengths[i % len(lengths)]} for i, rate in enumerate(rates)]
        every = [params | {"scheduler": spec.space["scheduler"]} for params in every]
    rng.shuffle(every)
    baseline = spec.space.clip(complete({}, spec.task_info.baseline))
    return [params for params in every if params != baseline]


def play(spec: StudySpec, order: list[Params], rng: random.Random | None, sign: float = 1.0) -> int:
    """Train a study's trials with these configurations; return how many were ended early.

    Args:
        spec: The study.
        order: The configurations after the baseline.
        rng: Draws scores, and which of the running trials goes on; None: one after another, each worse than the last.
        sign: -1 where a lower score is better.
    """
    search = Search(InMemoryStorage(), spec, spec.space)
    waiting: list[tuple[int, Params]] = [(0, search.ask(0) or {}), *enumerate(order, 1)]
    running: dict[int, tuple[int, int]] = {}  # number -> last evaluation, evaluations in all
    ended = 0
    while waiting or running:
        if waiting and (not running or (rng is not None and rng.random() < 0.3)):
            number, params = waiting.pop(0)
            search.enqueue(number, params) if number else None
            running[number] = (0, evaluations(spec, params))
        number = next(iter(running)) if rng is None else rng.choice(list(running))
        step, last = running[number]
        score = 0.9 - 0.01 * number if rng is None else rng.choice([0.1, 0.5, 0.9])
        if search.report(number, step + 1, sign * score):
            search.tell(number, TrialState.PRUNED, None, None)
            ended += 1
        elif step + 1 == last:
            search.tell(number, TrialState.COMPLETE, sign * score, None)
        else:
            running[number] = (step + 1, last)
            continue
        del running[number]
    return ended


def worst_order(spec: StudySpec, bound: int) -> list[Params]:
    """Return the order in which falling scores end most trials: those that can be ended are the last and the longest.

    Before them come one that is just long enough to be compared with, then the shortest.
    """
    trials, first = spec.possible_trials(), first_decision(spec.pruner)
    others = int(trials.count) - 1 - bound
    waiting = sorted(configurations(spec, random.Random(0)), key=lambda params: evaluations(spec, params))
    compared = next((params for params in waiting if evaluations(spec, params) >= first), None)
    if spec.pruner.name == "hyperband":  # each bracket has its own
        return waiting[len(waiting) - others - bound :]
    if others and compared is not None and trials.baseline < first:
        waiting.remove(compared)
        return [compared, *waiting[: others - 1], *waiting[len(waiting) - bound :]]
    return [*waiting[:others], *waiting[len(waiting) - bound :]]


def worst_orders(spec: StudySpec, bound: int) -> list[list[Params]]:
    """Return orders in which falling scores end most trials, where three that are as long must come before each.

    For each length these three are the longest of all, then come as many as must be complete, the shortest first, then
    those up to that length, shortest last.
    """
    trials, first = spec.possible_trials(), first_decision(spec.pruner)
    others = int(trials.count) - 1 - bound
    orders = []
    for longest in trials.configurations:
        waiting = sorted(configurations(spec, random.Random(0)), key=lambda params: evaluations(spec, params))
        three = LEAST_VALUES - (trials.baseline >= (first if trials.steady else longest))
        before = [waiting.pop() for _ in range(min(three, len(waiting)))]
        pool = [params for params in waiting if first < evaluations(spec, params) <= longest]
        apart = [params for params in waiting if params not in pool]
        before += apart[: max(0, others - len(before))]
        before += [pool.pop() for _ in range(min(len(pool), max(0, others - len(before))))]
        orders.append([*before, *pool][: int(trials.count) - 1])
    return orders


def check(pruner: dict[str, Any], space: dict[str, Any], budget: int, name: str, seed: int, semantics: int) -> None:
    """Check the bound of a study in chance and in its worst case."""
    longest = max(space["epochs"]) if isinstance(space["epochs"], list) else space["epochs"]
    if longest == 1:
        return
    objective = {"metric": "loss" if seed % 2 else "accuracy"}
    sign = -1.0 if seed % 2 else 1.0
    spec = new_spec(semantics, name=name, space=space, budget={"trials": budget}, pruner=pruner, objective=objective)
    trials = spec.possible_trials()
    bound = prunable_trials(spec.pruner, trials)
    assert bound is not None
    for attempt in range(3):
        rng = random.Random(seed * 3 + attempt)
        order = configurations(spec, rng)[: int(trials.count) - 1]
        assert play(spec, order, rng, sign) <= bound
    orders = worst_orders(spec, bound) if trials.by_share else [worst_order(spec, bound)]
    reached = max(play(spec, order, None, sign) for order in orders)
    assert reached <= bound
    if pruner["name"] != "hyperband" or spec.space.size() is None:
        assert reached == bound


PRUNERS = st.one_of(
    st.builds(
        lambda name, startup, warmup: {"name": name, "startup_trials": startup, "warmup_steps": warmup},
        st.sampled_from(["median", "percentile"]),
        st.integers(0, 6),
        st.integers(0, 5),
    ),
    st.builds(
        lambda patience, startup, warmup: {
            "name": "patient",
            "patience": patience,
            "startup_trials": startup,
            "warmup_steps": warmup,
        },
        st.integers(0, 4),
        st.integers(0, 4),
        st.integers(0, 3),
    ),
    st.builds(
        lambda name, factor: {"name": name, "reduction_factor": factor},
        st.sampled_from(["hyperband", "halving"]),
        st.integers(2, 4),
    ),
)
SPACES = st.one_of(
    st.builds(
        lambda epochs, scheduler: {"learning_rate": RATES, "epochs": epochs, "scheduler": scheduler},
        st.integers(2, 6),
        st.sampled_from(["linear", "constant"]),
    ),
    st.builds(
        lambda epochs, scheduler: {"learning_rate": RATES, "epochs": sorted(epochs), "scheduler": scheduler},
        st.sets(st.integers(1, 6), min_size=2),
        st.sampled_from(["cosine", "constant"]),
    ),
    st.builds(
        lambda rates, epochs: {"learning_rate": [1e-6 * (i + 1) for i in range(rates)], "epochs": sorted(epochs)},
        st.integers(1, 3),
        st.sets(st.integers(1, 6), min_size=1, max_size=4),
    ),
)


@given(
    pruner=PRUNERS,
    space=SPACES,
    budget=st.integers(1, 9),
    name=st.sampled_from("abcd"),
    seed=st.integers(0, 9),
    semantics=st.sampled_from([COMPARED_BY_SHARE - 1, COMPARED_BY_SHARE]),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_scores_end_more_trials_than_the_bound_and_some_reach_it(
    pruner: dict[str, Any], space: dict[str, Any], budget: int, name: str, seed: int, semantics: int
) -> None:
    check(pruner, space, budget, name, seed, semantics)


MEDIAN = {"name": "median"}


@pytest.mark.parametrize(
    ("changes", "path", "cure"),
    [
        ({"pruner": MEDIAN, "budget": {"trials": 5}}, "pruner.name", "5 complete.* budget.trials to at least 6"),
        (
            {"pruner": MEDIAN | {"startup_trials": 9}, "budget": {"trials": 8}},
            "pruner.startup_trials",
            "to at most 7, set budget.trials to at least 10, or take the pruner none",
        ),
        ({"pruner": MEDIAN | {"warmup_steps": 4}}, "pruner.warmup_steps", "evaluation 5 on.* to at most 3"),
        ({"pruner": {"name": "percentile", "warmup_steps": 9}}, "pruner.warmup_steps", "raise space.epochs"),
        ({"pruner": {"name": "patient", "patience": 3}}, "pruner.patience", "longest trial has 5.* to at most 2"),
        (
            {"pruner": {"name": "patient"}, "space": {"epochs": 3, "learning_rate": RATES}},
            "pruner.name",
            "evaluations_per_epoch",
        ),
        ({"pruner": {"name": "patient"}, "budget": {"trials": 2}}, "pruner.name", "budget.trials to at least 6"),
        ({"pruner": MEDIAN, "space": {"epochs": [2, 4], "batch_size": [8, 16]}}, "pruner.name", "widen the space"),
        (
            {"name": "three", "pruner": {"name": "hyperband"}, "budget": {"trials": 2}},
            "pruner.name",
            "of its bracket.* set budget.trials to at least [3-9]",
        ),
    ],
)
def test_a_pruner_that_can_end_no_trial_is_refused_with_the_cure(changes: dict[str, Any], path: str, cure: str) -> None:
    ((where, text),) = search_problems(new_spec(**changes))
    assert ".".join(map(str, where)) == path
    assert re.search(cure, text), text
    stored = StudySpec.model_validate({**document(), **changes})
    assert stored.semantics == 1
    assert search_problems(stored) == [], "what is stored goes on"


def test_the_cure_for_a_patient_pruner_is_the_limit_itself() -> None:
    assert search_problems(new_spec(pruner={"name": "patient", "patience": 2})) == []
    assert search_problems(new_spec(pruner={"name": "median", "warmup_steps": 3})) == []
    assert search_problems(new_spec(pruner={"name": "median"}, budget={"trials": 6})) == []


def test_a_try_out_of_the_baseline_alone_needs_no_other_pruner() -> None:
    assert search_problems(new_spec(pruner={"name": "median"}, budget={"trials": 1})) == []


def test_a_default_that_could_end_no_trial_is_none_and_never_an_error() -> None:
    tiny = {"budget": {"trials": 1}}
    assert new_spec(**tiny).pruner.name == "none"
    assert new_spec().pruner.name == "hyperband"
    assert new_spec(budget={"wall_clock_seconds": 60}).pruner.name == "hyperband"
    stored = StudySpec.model_validate({**document(), **tiny})
    assert stored.pruner.name == "hyperband", "a study that exists keeps what it was stored with"
    again = StudySpec.model_validate_json(stored.model_dump_json())
    assert again == stored
    sent = parse_spec(json.dumps({**document(), **tiny}))
    assert stored.says_the_same(sent), "the same document again is the same study"
    assert sent.says_the_same(stored)
    assert not new_spec().says_the_same(new_spec(pruner={"name": "none"}))
    of_three = document({"budget.trials": 3})
    before = parse_spec(json.dumps(of_three), COMPARED_BY_SHARE - 1)
    assert (before.pruner.name, parse_spec(json.dumps(of_three)).pruner.name) == ("hyperband", "none")
    stored = StudySpec.model_validate_json(before.model_dump_json())
    assert stored.says_the_same(parse_spec(json.dumps(of_three))), "sent again to a service that compares otherwise"


def test_a_schedules_runs_have_names_of_their_own_so_that_hyperband_is_not_judged_by_one() -> None:
    study = {key: value for key, value in document({"budget.trials": 4}).items() if key != "name"}
    raw = {"name": "nightly", "cron": "0 3 * * *", "study": study}
    schedule = parse_schedule(json.dumps(raw))
    assert schedule.study.pruner.name == "hyperband"
    assert StudySpec.model_validate_json(schedule.run_spec(0.0).model_dump_json()).pruner.name == "hyperband"
    small = parse_schedule(json.dumps({**raw, "study": {**study, "budget": {"trials": 1}}}))
    assert small.study.pruner.name == "none"
    stored = ScheduleSpec.model_validate({**raw, "study": {**study, "budget": {"trials": 1}}})
    assert (stored.study.pruner.name, stored.says_the_same(small), small.says_the_same(stored)) == (
        "hyperband",
        True,
        True,
    )


def test_epochs_that_a_space_leaves_out_are_the_tasks() -> None:
    images = {"task": "image-classification", "dataset": {"source": "d"}, "space": {"learning_rate": RATES}}
    assert new_spec(**images).max_steps == 5
    assert new_spec(**images).possible_trials().longest == 5
    assert StudySpec.model_validate({**document(), **images}).max_steps == 3, "stored studies keep their brackets"


def test_without_a_limit_of_trials_there_is_no_bound() -> None:
    spec = new_spec(budget={"gpu_seconds": 60}, pruner={"name": "median"})
    assert prunable_trials(spec.pruner, spec.possible_trials()) is None
    assert prunable_trials(new_spec(pruner={"name": "none"}).pruner, spec.possible_trials()) == 0
