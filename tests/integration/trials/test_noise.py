"""The noise of a real study's scores: the winner beside the baseline, on the same examples, by recomputation."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.intervals import share_error, wilson
from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.results import BaselineScores, BaselineWeights, Evaluation, Sampling
from luthier.studies.semantics import NEWEST_SEMANTICS, NOISE_MEASURED
from luthier.trials.files import file_ref
from luthier.trials.jobs import exact
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.replicates import REPLICATES
from luthier.trials.jobs.train import train
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.training.model_cache import ModelCache
from tests.support.tiny import tiny_csv, tiny_rows
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
BASELINE = {"learning_rate": 3e-4, "epochs": 1}
WINNER = {"learning_rate": 3e-3, "epochs": 3}


class Study:
    """A baseline and a winner that were trained, with the weights of both in one folder."""

    def __init__(self, assign: Assign, folder: Path, **spec: Any) -> None:
        self.assign, self.cache = assign, ModelCache()
        self.spec = {"semantics": NEWEST_SEMANTICS, **spec}
        self.before, self.session = Memory(folder / "baseline"), Memory(folder / "winner")
        for params, session in ((BASELINE, self.before), (WINNER, self.session)):
            train(self.assign(params=params, spec=self.spec), session, self.cache)
        shutil.copy(self.before.named("best"), self.session.folder / "baseline.safetensors")

    @property
    def baseline(self) -> BaselineWeights:
        params = self.assign(params=BASELINE, spec=self.spec).params
        return BaselineWeights(params=params, seed=7, weights=file_ref(self.session.folder / "baseline.safetensors"))

    def evaluated(self, **fields: Any) -> Evaluation:
        work = self.assign(
            AssignmentKind.EVALUATE, params=WINNER, spec=self.spec, checkpoint=self.session.checkpoint(), **fields
        )
        return evaluate(work, self.session, self.cache)

    def evaluated_baseline(self) -> Evaluation:
        """The baseline, measured as if it were the winner."""
        work = self.assign(
            AssignmentKind.EVALUATE, params=BASELINE, spec=self.spec, checkpoint=self.before.checkpoint()
        )
        return evaluate(work, self.before, ModelCache())

    def sampled(self) -> Sampling:
        sampling = self.evaluated(baseline=self.baseline).sampling
        assert sampling is not None
        return sampling


@pytest.mark.full
def test_the_winner_is_measured_beside_the_baseline(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(assign, tmp_path)
    passes: list[int] = []
    measure = exact.measure

    def counted(*args: Any, **options: Any) -> Statistics:
        passes.append(1)
        return measure(*args, **options)

    monkeypatch.setattr(exact, "measure", counted)
    both = study.evaluated(baseline=study.baseline)
    assert len(passes) == 3, "the baseline on test, the winner once on validation and test, for noise and tables"
    alone = study.evaluated_baseline()
    assert both.sampling is not None
    assert alone.sampling is not None
    assert alone.sampling.baseline is alone.sampling.pair is None
    assert both.sampling.baseline == BaselineScores(test=alone.test, interval=alone.sampling.interval)

    accuracy, before = ((scores or {})["accuracy"] for scores in (both.test, alone.test))
    assert accuracy is not None
    assert before is not None
    assert both.sampling.interval == wilson(accuracy, 36)
    best = max(metrics["accuracy"] or 0.0 for metrics in study.session.metrics)
    assert both.sampling.standard_error == pytest.approx(share_error(best, 36))
    assert both.results is not None
    assert both.results.validation is not None
    assert both.results.validation.metrics["accuracy"] == best
    pair = both.sampling.pair
    assert pair is not None
    assert (pair.split, pair.examples, pair.labelled_units, pair.independent) == ("test", 36, 36, True)
    assert (pair.winner, pair.baseline) == (accuracy, before)
    assert (pair.gained - pair.lost) / 36 == pytest.approx(accuracy - before)
    assert pair.gained > 0
    assert (pair.exchanged, pair.resampled) == ([], [])


@pytest.mark.full
def test_any_other_metric_is_resampled(assign: Assign, tmp_path: Path) -> None:
    study = Study(assign, tmp_path, objective={"metric": "loss", "direction": "minimize"})
    once, again = study.evaluated(baseline=study.baseline), study.sampled()
    alone = study.evaluated()
    assert once.sampling == again, "drawn from the seed"
    assert (once.test, once.model) == (alone.test, alone.model), "the winner's own scores and model are the same"
    pair, interval = again.pair, again.interval
    assert pair is not None
    assert interval is not None
    assert again.standard_error is not None
    assert (interval.method, pair.independent) == ("bca", False)
    assert pair.winner is not None
    assert pair.baseline is not None
    assert interval.low <= pair.winner <= interval.high
    assert 0 < interval.error < 1
    assert len(pair.exchanged) == len(pair.resampled) == REPLICATES
    middle = sorted(pair.resampled)[REPLICATES // 2]
    assert middle == pytest.approx(pair.baseline - pair.winner, rel=0.2), "less is better: more is a gain"
    assert middle > 0
    assert sum(pair.exchanged) / REPLICATES == pytest.approx(0, abs=0.1 * middle)


@pytest.mark.full
def test_copies_of_an_input_are_one_piece_of_evidence(assign: Assign, tmp_path: Path) -> None:
    """Each test row five times: the interval is as wide as that of the different rows, not as of five times as many."""
    study = Study(assign, tmp_path, objective={"metric": "loss", "direction": "minimize"})
    rows = tiny_rows(100)
    parts = {"train": rows[:60], "validation": rows[60:80], "once": rows[80:], "copies": rows[80:] * 5}
    for name, part in parts.items():
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in part))
    widths = {}
    for name in ("once", "copies"):
        source = {"train": "train", "validation": "validation", "test": name}
        files = {split: str(tmp_path / f"{file}.csv") for split, file in source.items()}
        study.spec["dataset"] = {"source": files}
        interval = study.sampled().interval
        assert interval is not None
        widths[name] = interval.high - interval.low
    assert widths["copies"] == pytest.approx(widths["once"], rel=0.25)


@pytest.mark.full
def test_without_a_test_split_they_are_compared_on_validation(assign: Assign, tmp_path: Path, data: Path) -> None:
    sampling = Study(assign, tmp_path, dataset={"source": str(data), "test": 0}).sampled()
    assert sampling.interval is None
    assert sampling.baseline is not None
    assert (sampling.baseline.test, sampling.baseline.interval) == (None, None)
    assert sampling.pair is not None
    assert sampling.pair.split == "validation"
    assert sampling.standard_error is not None


@pytest.mark.full
def test_a_winner_is_measured_although_the_baselines_weights_are_damaged(assign: Assign, tmp_path: Path) -> None:
    study = Study(assign, tmp_path)
    (study.session.folder / "baseline.safetensors").write_bytes(b"no weights")
    sampling = study.sampled()
    assert sampling.interval is not None
    assert (sampling.baseline, sampling.pair) == (None, None)
    assert any(line.startswith("The baseline is not measured: ") for line in study.session.lines)


@pytest.mark.full
def test_older_semantics_measure_none_of_it(assign: Assign, tmp_path: Path) -> None:
    study = Study(assign, tmp_path, semantics=NOISE_MEASURED - 1)
    evaluation = study.evaluated()
    assert evaluation.sampling is None
    assert "sampling" not in evaluation.model_dump()


@pytest.mark.full
def test_few_examples_have_no_resampled_interval(assign: Assign, tmp_path: Path) -> None:
    small = tiny_csv(tmp_path / "small.csv", rows=60)
    study = Study(
        assign, tmp_path, dataset={"source": str(small)}, objective={"metric": "loss", "direction": "minimize"}
    )
    sampling = study.sampled()
    assert sampling.interval is None
    assert sampling.baseline is not None
    assert sampling.baseline.test is not None
