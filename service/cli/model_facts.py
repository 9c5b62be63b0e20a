"""What the commands say of a study's packed model: whose it is, and its own scores."""

from typing import TYPE_CHECKING

from luthier.service.cli.output import looks, scores, size

if TYPE_CHECKING:
    from luthier.service.schemas import ModelView, StudyView


def model_facts(study: "StudyView") -> dict[str, str | None]:
    """Return the rows of a table of facts about a study's model: size, checksum, trial; its own scores if earlier."""
    model = study.model
    if model is None:
        return {"model": None}
    told = f"{size(model.bytes)}, sha256 {model.sha256}"
    return {"model": f"{told}, {whose(model)}" if model.is_earlier else told, **earlier_scores(study)}


def earlier_scores(study: "StudyView") -> dict[str, str | None]:
    """Return the row with the scores of a model that an earlier winner has left; none for the present winner's."""
    model = study.model
    if model is None or not model.is_earlier or not model.test:
        return {}
    return {"model's test": scores(model.test) + looks(model.test_looks)}


def whose(model: "ModelView") -> str:
    """Return of which trial a model is that an earlier winner has left, as a phrase."""
    trial = "a trial" if model.trial is None else f"trial {model.trial}"
    return f"of {trial}, the winner before the study was extended"
