"""The scores of the most frequent answer beside a winner's, for `luthier run`, `luthier get` and `luthier best`."""

from typing import TYPE_CHECKING

from luthier.service.cli.output import score, scores

if TYPE_CHECKING:
    from luthier.service.schemas import StudyView


def majority_facts(study: "StudyView") -> dict[str, str | None]:
    """Return the rows of a table of facts: the scores, and why an ended study's winner is no better, if so."""
    majority = study.majority
    if majority is None:
        return {}
    line = f"{study.spec['objective']['metric']} {score(majority.value)} by always answering {majority.label!r}"
    if majority.test:
        line += f"; test: {scores(majority.test)}"
    return {"majority": line, "verdict": verdict(study)}


def verdict(study: "StudyView") -> str | None:
    """Return the sentence that an ended study's winner is no better than the most frequent answer, or None."""
    from luthier.studies.protocol import ENDED
    from luthier.studies.results import Majority
    from luthier.studies.spec import StudySpec
    from luthier.studies.verdict import no_better

    majority, best = study.majority, study.best
    if majority is None or best is None or study.state not in ENDED:
        return None
    stored = Majority(label=majority.label, validation=majority.metrics, test=majority.test)
    return no_better(StudySpec.model_validate(study.spec), stored, best.value, best.test)
