"""How exact a winner's scores are, for `luthier run`, `luthier get` and `luthier best`."""

from typing import TYPE_CHECKING

from luthier.service.cli.output import score, scores

if TYPE_CHECKING:
    from luthier.service.schemas import BestView, StudyView


def with_error(best: "BestView") -> str:
    """Return the winner's score on validation, with its standard error where it is known."""
    return score(best.value) + (f" ± {score(best.standard_error)}" if best.standard_error is not None else "")


def noise_facts(study: "StudyView") -> dict[str, str | None]:
    """Return the rows of a table of facts: the interval on test, the baseline there, the gain, and a note on it."""
    from luthier.studies.intervals import Interval
    from luthier.studies.noise import Gain, gain_text, interval_text

    best, baseline = study.best, study.baseline
    if best is None:
        return {}
    metric = study.spec["objective"]["metric"]
    rows: dict[str, str | None] = {}
    if best.interval is not None:
        rows["interval"] = f"{metric} on test, {interval_text(Interval.model_validate(best.interval.model_dump()))}"
    if baseline is not None and baseline.test and best.trial != baseline.trial:
        rows["baseline's test"] = scores(baseline.test)
    if best.gain is not None:
        rows["gain"] = gain_text(metric, Gain.model_validate(best.gain.model_dump()))
    return rows | {"note": best.note}
