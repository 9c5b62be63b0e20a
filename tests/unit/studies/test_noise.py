"""A gain below the noise is called so, with its cure; a study that is measured again keeps what it knows."""

from typing import Any

import pytest

from luthier.studies.intervals import Interval, wilson
from luthier.studies.noise import CHANCE, Noise, gain_text, judged, remark
from luthier.studies.results import BaselineScores, Pair, Sampling
from luthier.studies.spec import StudySpec
from tests.support.specs import document

LESS = {"metric": "loss", "direction": "minimize"}


def spec(**changes: Any) -> StudySpec:
    return StudySpec.model_validate(document() | changes)


def sampling(winner: float | None, baseline: float | None, gained: int = 0, lost: int = 0, **pair: Any) -> Sampling:
    fields = {"split": "test", "examples": 100, "labelled_units": 100, "independent": True}
    fields |= {"winner": winner, "baseline": baseline, "gained": gained, "lost": lost} | pair
    before = BaselineScores(test={"accuracy": baseline}, interval=wilson(baseline or 0.0, 100))
    return Sampling(interval=wilson(winner or 0.0, 100), baseline=before, pair=Pair.model_validate(fields))


def replicates(gain: float, spread: float) -> dict[str, Any]:
    steps = [spread * (i - 500) / 500 for i in range(1001)]
    return {"independent": False, "exchanged": steps, "resampled": [gain + step for step in steps]}


@pytest.mark.parametrize(
    ("gained", "lost", "is_noise"), [(6, 0, False), (5, 0, True), (30, 14, False), (30, 18, True), (0, 0, True)]
)
def test_accuracies_are_told_apart_by_mcnemars_test(gained: int, lost: int, is_noise: bool) -> None:
    value = (gained - lost) / 100
    noise = judged(spec(), sampling(0.5 + value, 0.5, gained, lost), {"accuracy": 0.5 + value})
    assert noise.gain is not None
    assert noise.gain.interval is not None
    assert (noise.gain.test, noise.gain.interval.method) == ("mcnemar", "clopper-pearson")
    assert noise.gain.value == pytest.approx(value)
    assert noise.gain.is_noise == is_noise == (noise.gain.p_value > CHANCE)
    assert (remark(spec(), noise, 3) is not None) == is_noise
    assert (noise.gain.interval.low <= 0) == is_noise


def test_other_scores_are_told_apart_by_randomization() -> None:
    """Of a loss, less is better: a gain is the baseline's loss less the winner's."""
    wide, narrow = (
        judged(spec(objective=LESS), sampling(0.4, 0.5, **replicates(0.1, spread)), {"loss": 0.4})
        for spread in (0.2, 0.05)
    )
    assert wide.gain is not None
    assert narrow.gain is not None
    assert wide.gain.value == narrow.gain.value == pytest.approx(0.1)
    assert (wide.gain.is_noise, narrow.gain.is_noise, wide.gain.test) == (True, False, "randomization")
    assert wide.gain.interval is not None
    assert wide.gain.interval.low == pytest.approx(0.1 - 0.95 * 0.2, abs=0.01)


def test_the_sentence_says_what_it_is_and_its_cure() -> None:
    noise = judged(spec(), sampling(0.53, 0.5, 10, 7), {"accuracy": 0.53})
    text = remark(spec(), noise, 3)
    assert text is not None
    assert text.startswith(
        "The gain over the baseline, trial 0, is within the noise and may be chance: +0.0300 accuracy "
    )
    assert "on 100 test examples, 95% interval -0." in text
    assert text.endswith(
        "`confirm: {candidates: 3, seeds: 3}` in the spec trains the best again on fresh seeds before one wins; "
        "more test examples tell smaller gains apart."
    )
    confirmed = remark(spec(confirm={"candidates": 2, "seeds": 2}), noise, 3)
    assert confirmed is not None
    assert "confirm" not in confirmed
    assert confirmed.endswith(" More test examples tell smaller gains apart.")


def test_a_loss_is_called_one_and_the_baseline_itself_too() -> None:
    noise = judged(spec(), sampling(0.48, 0.5, 7, 9), {"accuracy": 0.48})
    assert str(remark(spec(), noise, 3)).startswith(
        "The winner is no better than the baseline, trial 0: -0.0200 accuracy "
    )
    assert str(remark(spec(), Noise(), 0)).startswith("The search found nothing better than the baseline, trial 0; ")
    assert remark(spec(), None, 0) is None


def test_on_validation_the_choice_itself_is_named() -> None:
    found = sampling(0.53, 0.5, 10, 7, split="validation")
    text = remark(spec(), judged(spec(), found, None), 3)
    assert text is not None
    assert "on 100 validation examples" in text
    assert "The winner was chosen on these very examples, so that the true gain is likely smaller." in text


@pytest.mark.parametrize("pair", [{"winner": None}, {"baseline": None}, {"examples": 0}])
def test_a_score_that_is_undefined_tells_nothing(pair: dict[str, Any]) -> None:
    found = sampling(0.6, 0.5, **replicates(0.1, 0.1))
    assert found.pair is not None
    noise = judged(spec(), found.model_copy(update={"pair": found.pair.model_copy(update=pair)}), {"accuracy": 0.6})
    assert noise.gain is None
    assert remark(spec(), noise, 3) is None


def test_measured_again_it_keeps_the_baselines_scores_and_compares_intervals() -> None:
    first = judged(spec(), sampling(0.6, 0.5, 20, 10), {"accuracy": 0.6})
    again = Sampling(standard_error=0.01, interval=wilson(0.9, 100))
    noise = judged(spec(), again, {"accuracy": 0.9}, first, 100)
    assert (noise.baseline, noise.standard_error) == (first.baseline, 0.01)
    assert noise.gain is not None
    assert (noise.gain.test, noise.gain.examples, noise.gain.is_noise) == ("independent", 100, False)
    assert noise.gain.value == pytest.approx(0.4)
    assert noise.gain.interval is not None
    half = (noise.gain.interval.high - noise.gain.interval.low) / 2
    assert half == pytest.approx(1.96 * (0.25 / 100 + 0.09 / 100) ** 0.5, rel=0.05)
    near = judged(spec(), Sampling(interval=wilson(0.55, 100)), {"accuracy": 0.55}, first, 100)
    assert near.gain is not None
    assert near.gain.is_noise
    assert judged(spec(), Sampling(), {"accuracy": 0.9}, first, 100).gain is None
    assert judged(spec(), again, {"accuracy": 0.9}).gain is None


def test_a_gain_without_an_interval_is_told_too() -> None:
    noise = judged(spec(), sampling(0.53, 0.5, 10, 7), {"accuracy": 0.53})
    assert noise.gain is not None
    assert (
        gain_text("accuracy", noise.gain.model_copy(update={"interval": None}))
        == "+0.0300 accuracy on 100 test examples"
    )
    assert Interval(low=0, high=1.96, method="bca").error == pytest.approx(0.5, abs=1e-3)
