"""What a rerun says: equal to the last digit, or by how much which score differs, and what else is not as it was."""

from typing import Any

import pytest

from luthier.service.cli.rerun_report import UNRECORDED, compare, sentences
from luthier.service.client.bundles import Bundle
from luthier.service.schemas import BundleStudy, TrialView
from luthier.studies import reruns
from luthier.studies.spec import StudySpec, parse_spec
from tests.support.command_line import SPEC

VERSIONS = {"luthier": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "transformers": "5.0"}


def trial(number: int, *scores: float, **more: Any) -> TrialView:
    values = [{"step": i, "metrics": {"accuracy": s, "auc": None}} for i, s in enumerate(scores, 1)]
    told = {"state": "complete", "params": {"learning_rate": 0.1}, "seed": 7, "values": values, "number": number}
    return TrialView.model_validate(told | more)


def bundle(name: str, *trials: TrialView, best: int = 0, test: float = 0.75, **study: Any) -> Bundle:
    spec = parse_spec(SPEC.format(name=name))
    told = {"name": name, "state": "completed", "created_at": "2026-01-01T00:00:00Z", "spec": {}, "counts": {}}
    told |= {"best": {"trial": best, "value": 0.5, "params": {}, "test": {"accuracy": test}}}
    told |= {"versions": VERSIONS, "fingerprint": "f" * 64, "base_model_sha256": "a" * 64}
    return Bundle(BundleStudy.model_validate(told | study), spec, {t.number: t for t in trials})


def said(before: Bundle, now: Bundle, pairs: dict[int, int]) -> list[str]:
    return list(sentences(compare(before, now, pairs)))


def test_equal_scores_are_counted_with_those_on_test() -> None:
    before, now = bundle("a", trial(3, 0.5, 0.6), best=3), bundle("b", trial(0, 0.1), trial(1, 0.5, 0.6), best=1)
    assert compare(before, now, {3: 1}).equal
    assert said(before, now, {3: 1}) == [
        "Trial 3 of a is equal to the last digit: 5 scores on validation and test, again as b."
    ]


def test_the_last_digit_counts_and_the_largest_difference_is_told() -> None:
    before, now = bundle("a", trial(0, 0.5, 0.6)), bundle("b", trial(0, 0.5, 0.6000000000000001), test=0.5)
    view = compare(before, now, {0: 0})
    assert not view.equal
    assert list(sentences(view)) == [
        "Trial 0 of a differs: accuracy at evaluation 2 was 0.6, and is 0.6000000000000001 (+1.11e-16).",
        "The winner's test scores differ: accuracy on test was 0.75, and is 0.5 (-0.25).",
        UNRECORDED,
    ]


def test_versions_data_and_weights_that_differ_are_told() -> None:
    now = bundle("b", trial(0, 0.4), versions=VERSIONS | {"torch": "2.14.0"}, fingerprint="e" * 64)
    now.study.base_model_sha256 = "b" * 64
    lines = said(bundle("a", trial(0, 0.5)), now, {0: 0})
    assert lines[1:] == [
        "torch was 2.13.0, and is 2.14.0.",
        "The fingerprint of the data and its splits was ffffffffffff, and is eeeeeeeeeeee.",
        "The SHA-256 of the model's weights was aaaaaaaaaaaa, and is bbbbbbbbbbbb.",
    ]


@pytest.mark.parametrize(
    ("now", "equal", "words"),
    [
        ([trial(0, 0.5, 0.6, 0.7)], True, "it was pruned after 2 evaluations, and is complete after 3"),
        ([trial(0, 0.5, state="failed", reason="oom")], False, "is failed after 1 (oom)"),
        ([trial(0, 0.5, None, state="complete")], False, "accuracy at evaluation 2 was 0.6, and is not there"),
        ([trial(0, 0.5, 0.6, seed=8)], False, "the search drew another configuration"),
        ([], False, "the new study has no such trial"),
    ],
)
def test_a_trial_that_went_another_way_says_how(now: list[TrialView], equal: bool, words: str) -> None:
    before = bundle("a", trial(0, 0.5, 0.6, state="pruned"), best=1)
    view = compare(before, bundle("b", *now, best=1), {0: 0})
    assert view.equal is equal
    told = " ".join(sentences(view))
    assert words in told
    assert (UNRECORDED in told) is any(trial.gap for trial in view.trials)


def test_of_many_trials_that_differ_ten_are_told() -> None:
    before = bundle("a", *(trial(n, 0.5) for n in range(20)))
    now = bundle("b", *(trial(n, 0.5 if n < 5 else 0.6) for n in range(20)))
    lines = said(before, now, {n: n for n in range(20)})
    assert lines[0].startswith("5 of 20 trials of a are equal to the last digit")
    assert sum(line.startswith("Trial ") for line in lines) == 10
    assert "5 more trials differ" in " ".join(lines)


def test_the_study_of_one_trial_has_its_space_and_nothing_that_steers_or_ends_a_search() -> None:
    text = SPEC.format(name="one").replace("trials: 3", "trials: 30, target: 0.9, gpu_seconds: 60")
    spec = parse_spec(text + "confirm: {}\nsampler: {name: qmc}\nseed: 5\nparallel: 3\n")
    document = reruns.trial_spec(spec, "again", 4)
    again = StudySpec.model_validate(document)
    assert (again.name, again.budget.trials, again.budget.target, again.parallel) == ("again", 2, None, 1)
    assert (again.space, again.dataset, again.seed, again.model) == (spec.space, spec.dataset, 5, spec.model)
    assert (again.confirm, again.pruner.name) == (None, "none")
    assert StudySpec.model_validate(reruns.trial_spec(spec, "again", 0)).budget.trials == 1
    whole = StudySpec.model_validate(reruns.search_spec(spec, "again") | {"semantics": spec.semantics})
    assert whole == spec.model_copy(update={"name": "again"})


def test_data_and_model_that_moved_are_named_anew_or_refused() -> None:
    spec = parse_spec(SPEC.format(name="one"))
    moved = reruns.with_paths(reruns.search_spec(spec, "a"), "new.csv", "new/model")
    assert (moved["dataset"]["source"], moved["model"]) == ("new.csv", "new/model")
    files = {"dataset": {"source": {"train": "a.csv"}}, "model": ["a", "b"]}
    for given, words in (({"data": "x", "model": None}, "several files"), ({"data": None, "model": "x"}, "models")):
        with pytest.raises(ValueError, match=words):
            reruns.with_paths(files, **given)


def test_a_name_is_no_longer_than_a_studys() -> None:
    assert reruns.rerun_name("sms", 3) == "sms-rerun-3"
    assert reruns.rerun_name("x" * 63, None) == "x" * 57 + "-rerun"
    with pytest.raises(ValueError, match="no name for a study"):
        reruns.search_spec(parse_spec(SPEC.format(name="one")), "Not a name")
