"""The route that changes a study: its tags, its notes, how many of its trials may run at once, and its share."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, WithJsonSchema

from luthier.service.api import views
from luthier.service.api.context import ServiceDep
from luthier.service.api.json_body import JsonRoute
from luthier.service.api.preconditions import IfMatch, check_match
from luthier.service.errors import Conflict, Invalid, NotFound, PreconditionFailed, responses
from luthier.service.lifecycle import labels, study_rows
from luthier.service.schemas import StudyView
from luthier.service.storage.tables import StudyRow

router = APIRouter(prefix="/v1/studies", tags=["studies"], route_class=JsonRoute)
CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
PLAIN = rf"^[^\s{CONTROLS}]([^{CONTROLS}]*[^\s{CONTROLS}])?$"  # on one line, without blanks around it
TAG = {"type": "string", "maxLength": labels.TAG_CHARACTERS, "pattern": PLAIN}
TAGS = {"type": "array", "items": TAG, "maxItems": labels.MOST_TAGS}
NOTES = {"type": "string", "maxLength": labels.NOTES_CHARACTERS, "pattern": rf"^([^{CONTROLS}]|[\t\n\r])*$"}
Tags = Annotated[list[str], AfterValidator(labels.check_tags), Field(max_length=1000), WithJsonSchema(TAGS)]
Notes = Annotated[str, AfterValidator(labels.check_notes), WithJsonSchema(NOTES)]


class StudyChanges(BaseModel):
    """Keys of a study and their new values; null puts one back to its default.

    Attributes:
        tags: at most 20 short texts, by which studies are listed.
        notes: plain text of at most 10,000 characters.
        parallel: trials that may run at the same time; running ones go on where it is lowered.
        weight: its share of the workers' time, beside other studies of its project and priority.
        priority: a higher one goes first, within its project.
    """

    model_config = ConfigDict(extra="forbid")
    tags: Tags | None = None
    notes: Notes | None = None
    parallel: Annotated[int, Field(ge=1, le=1024, strict=True)] | None = None
    weight: Annotated[FiniteFloat, Field(gt=0, le=1000)] | None = None
    priority: Annotated[int, Field(ge=-100, le=100, strict=True)] | None = None


@router.patch("/{name}", responses=responses(NotFound, Conflict, PreconditionFailed, Invalid))
def change(
    name: str, changes: StudyChanges, service: ServiceDep, response: Response, if_match: IfMatch = None
) -> StudyView:
    """Change a study's tags, notes, `parallel`, weight and priority, in any state; keys that are left out stay."""
    with service.core.database.transaction() as session:
        study = study_rows.lock(session, name)
        after = _changed(study, changes)
        is_done = all(getattr(study, column) == value for column, value in after.items())
        check_match(if_match, labels.study_etag(study), is_done=is_done)
        for column, value in after.items():
            setattr(study, column, value)
        session.flush()
        view = views.study_view(session, study, *service.core.standstill(session))
    service.notifier.notify()
    response.headers["ETag"] = view.etag or ""
    return view


def _changed(study: StudyRow, changes: StudyChanges) -> dict[str, Any]:
    """Return the columns of a study that some changes name, with their new values."""
    values: dict[str, Any] = {
        "tags": labels.joined(changes.tags or ()),
        "notes": changes.notes or None,
        "parallel": changes.parallel or study.spec.parallel,
        "weight": changes.weight or study.spec.weight,
        "priority": study.spec.priority if changes.priority is None else changes.priority,
    }
    return {column: value for column, value in values.items() if column in changes.model_fields_set}
