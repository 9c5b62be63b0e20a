"""The comparison of trials that ran again with those of a bundle: to the last digit, or by how much they differ."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, FiniteFloat

if TYPE_CHECKING:
    from luthier.service.client.bundles import Bundle
    from luthier.service.schemas import TrialView

MOST_TOLD = 10  # trials that differ, of a whole search
UNRECORDED = (
    "Nothing that is recorded differs. Another device, processor or number of threads adds numbers in another order, "
    "and changes last digits; so does a trial that ran out of memory and went on in smaller pieces."
)


class Gap(BaseModel):
    """The score that differs most: which, and its two values."""

    score: str
    before: FiniteFloat | None
    now: FiniteFloat | None

    @property
    def size(self) -> float:
        """How far apart the two are; without one of them, as far as can be."""
        return float("inf") if self.before is None or self.now is None else abs(self.now - self.before)

    def __str__(self) -> str:
        """Return it as a part of a sentence."""
        if self.before is None or self.now is None:
            return f"{self.score} was {_shown(self.before)}, and is {_shown(self.now)}"
        return f"{self.score} was {self.before!r}, and is {self.now!r} ({self.now - self.before:+.3g})"


class TrialRerun(BaseModel):
    """A trial of a bundle beside the one that ran again.

    Attributes:
        trial: its number in the bundle.
        now: its number in the new study; null where that has none.
        equal: whether every score that both have is the same to the last digit.
        scores: how many scores were compared.
        gap: the one that differs most; null where none does.
        note: what else is to be known, as a sentence.
    """

    trial: int
    now: int | None
    equal: bool
    scores: int = 0
    gap: Gap | None = None
    note: str | None = None


class Change(BaseModel):
    """Something recorded that is not what it was."""

    what: str
    before: str | None
    now: str | None

    def __str__(self) -> str:
        """Return it as a sentence."""
        return f"{self.what} was {self.before or 'not recorded'}, and is {self.now or 'not recorded'}."


class RerunView(BaseModel):
    """What a rerun found.

    Attributes:
        bundle: the name of the bundle's study.
        study: the name of the new one.
        equal: whether all of it is equal to the last digit.
        trials: each trial that was compared.
        test: the winner's scores on the test split; null where the two winners are not the same trial, or have none.
        changed: versions, data and weights that differ.
    """

    bundle: str
    study: str
    equal: bool
    trials: list[TrialRerun]
    test: TrialRerun | None = None
    changed: list[Change] = []


def compare(before: "Bundle", now: "Bundle", pairs: Mapping[int, int]) -> RerunView:
    """Return how a study that ran again compares with a bundle.

    Args:
        before: the bundle.
        now: the new study's.
        pairs: number of a trial in the bundle -> its number in the new study.
    """
    trials = [_compared(before.trials[number], now.trials.get(again)) for number, again in pairs.items()]
    test = _test(before, now, pairs)
    equal = all(trial.equal for trial in trials) and (test is None or test.equal)
    changed = list(_changes(before, now))
    return RerunView(
        bundle=before.study.name, study=now.study.name, equal=equal, trials=trials, test=test, changed=changed
    )


def sentences(view: RerunView) -> Iterator[str]:
    """Yield what a rerun found, for people."""
    same = [trial for trial in view.trials if trial.equal]
    scores = sum(trial.scores for trial in same) + (view.test.scores if view.test and view.test.equal else 0)
    where = " on validation and test" if view.test is not None and view.test.equal else " on validation"
    if len(view.trials) == 1:
        start = f"Trial {view.trials[0].trial} of {view.bundle}"
    else:
        start = f"{len(same)} of {len(view.trials)} trials of {view.bundle}"
    if same:
        yield f"{start} {_are(view)} equal to the last digit: {scores} scores{where}, again as {view.study}."
    different = [trial for trial in view.trials if not trial.equal]
    for trial in different[:MOST_TOLD]:
        yield f"Trial {trial.trial} of {view.bundle} differs: {trial.gap or trial.note}."
    if len(different) > MOST_TOLD:
        yield f"{len(different) - MOST_TOLD} more trials differ; --json lists them."
    if view.test is not None and not view.test.equal:
        yield f"The winner's test scores differ: {view.test.gap}."
    yield from (f"Trial {trial.trial}: {trial.note}." for trial in same if trial.note)
    yield from map(str, view.changed)
    compared = [*view.trials, *([] if view.test is None else [view.test])]
    if not view.changed and any(trial.gap for trial in compared):
        yield UNRECORDED


def _are(view: RerunView) -> str:
    return "is" if len(view.trials) == 1 else "are"


def _compared(before: "TrialView", now: "TrialView | None") -> TrialRerun:
    """Return two trials beside each other: every score of every evaluation that both have."""
    if now is None:
        return TrialRerun(trial=before.number, now=None, equal=False, note="the new study has no such trial")
    numbers = {"trial": before.number, "now": now.number}
    if before.params != now.params or before.seed != now.seed:
        text = "the search drew another configuration"
        return TrialRerun(**numbers, equal=False, note=text)
    scores_now = {step.step: step.metrics for step in now.values}
    gaps, count = [], 0
    for step in before.values:
        if step.step in scores_now:
            ending = f" at evaluation {step.step}"
            count += len(step.metrics)
            gaps += _gaps(step.metrics, scores_now[step.step], ending)
    gap = max(gaps, key=lambda gap: gap.size, default=None)
    note = _lengths(before, now)
    is_shorter = len(scores_now) < len(before.values)
    return TrialRerun(**numbers, equal=not gaps and not is_shorter, scores=count, gap=gap, note=note)


def _lengths(before: "TrialView", now: "TrialView") -> str | None:
    """Return how far two trials went, where one went further."""
    if len(before.values) == len(now.values):
        return None
    reason = f" ({now.reason.value})" if now.reason else ""
    was = f"it was {before.state.value} after {len(before.values)} evaluations"
    return f"{was}, and is {now.state.value} after {len(now.values)}{reason}; those that both have were compared"


def _gaps(before: Mapping[str, float | None], now: Mapping[str, float | None], ending: str) -> list[Gap]:
    """Return the scores that are not the same to the last digit."""
    return [
        Gap(score=f"{name}{ending}", before=before.get(name), now=now.get(name))
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def _test(before: "Bundle", now: "Bundle", pairs: Mapping[int, int]) -> TrialRerun | None:
    """Return the winners' test scores beside each other, where both are the same trial with the same weights."""
    was, best = before.study.best, now.study.best
    if was is None or best is None or was.test is None or best.test is None or pairs.get(was.trial) != best.trial:
        return None
    if (before.spec.confirm is None) != (now.spec.confirm is None):
        return None  # with repetitions the winner's weights are one of theirs
    gaps = _gaps(was.test, best.test, " on test")
    gap = max(gaps, key=lambda gap: gap.size, default=None)
    return TrialRerun(trial=was.trial, now=best.trial, equal=not gaps, scores=len(was.test), gap=gap)


def _changes(before: "Bundle", now: "Bundle") -> Iterator[Change]:
    """Yield what is recorded of both, and is not the same."""
    was, versions = before.study.versions, now.study.versions
    for name in sorted(was.keys() | versions.keys()):
        if was.get(name) != versions.get(name):
            yield Change(what=name, before=was.get(name), now=versions.get(name))
    if before.study.fingerprint != now.study.fingerprint:
        what = "The fingerprint of the data and its splits"
        yield Change(what=what, before=_digits(before.study.fingerprint), now=_digits(now.study.fingerprint))
    weights, own = before.study.base_model_sha256, now.study.base_model_sha256
    if weights and own and weights != own and len(before.spec.models) == 1:  # of several, the winner's is one
        yield Change(what="The SHA-256 of the model's weights", before=_digits(weights), now=_digits(own))


def _digits(text: str | None) -> str | None:
    return None if text is None else text[:12]


def _shown(value: float | None) -> str:
    return "not there" if value is None else repr(value)
