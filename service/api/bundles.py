"""The route of bundles (/v1/studies/{name}/bundle): a study as one archive, to be kept or run again elsewhere."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Any, BinaryIO

import yaml
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier import __version__
from luthier.service.api import views
from luthier.service.api.context import Service, ServiceDep
from luthier.service.api.openapi import ZIP
from luthier.service.api.security_headers import is_head
from luthier.service.api.stored_file import StoredFile
from luthier.service.api.trial_views import trial_views
from luthier.service.errors import Conflict, NotFound, responses
from luthier.service.lifecycle import confirmation, study_rows
from luthier.service.schemas import BundleStudy
from luthier.service.storage.column_types import StoredModel
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies import bundles
from luthier.studies.archives import ArchiveError, read_member
from luthier.studies.protocol import AssignmentKind
from luthier.studies.results import Inspection

router = APIRouter(prefix="/v1/studies", tags=["studies"])

AT_ONCE = 500  # trials that are read together
MOST_ABOUT_BYTES = 16 * 2**20  # of luthier.json
LEFT_OUT = {"files", "stopping"}  # of a trial: what says nothing of how it came about
VERSIONS = ("luthier", "python", "torch", "transformers")

WithModel = Annotated[bool, Query(description="Put the winner's model into the bundle, too.")]


@router.get("/{name}/bundle", response_class=FileResponse, responses=responses(NotFound, Conflict) | ZIP)
def bundle(name: str, service: ServiceDep, request: Request, model: WithModel = False) -> Response:
    """Download a study as one archive: spec, versions, seeds, hashes, and every value of every trial.

    The same study gives the same bytes. `luthier rerun` runs it again and compares.
    """
    if is_head(request.scope):  # writing it reads every trial
        with service.core.database.reading() as session:
            _exportable(session, name, model)
        headers = {"Content-Disposition": f'attachment; filename="{name}.zip"'}
        return StreamingResponse(iter(()), media_type="application/zip", headers=headers)
    file = tempfile.TemporaryFile(dir=service.core.store.root)  # noqa: SIM115  # the answer closes it
    try:
        with service.core.database.snapshot() as session:
            study = _exportable(session, name, model)
            bundles.write_bundle(file, _parts(service, session, study, model), __version__)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return StoredFile(file, "application/zip", filename=f"{name}.zip")


def _exportable(session: Session, name: str, with_model: bool) -> StudyRow:
    """Return the row of a study that a bundle can be made of. Raises NotFound, Conflict."""
    study = study_rows.find(session, name)
    if not study.is_readable:
        raise Conflict(f"{name} is damaged, or of a newer version: it cannot be exported.")
    if with_model and not isinstance(study.model, StoredModel):
        raise Conflict(f"{name} has no model that a bundle could hold; export it without.")
    return study


def _parts(
    service: Service, session: Session, study: StudyRow, with_model: bool
) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Yield the files of a bundle."""
    about = _about_winner(service, study)
    parsed = _mapping(about)
    spec = study.spec.model_dump(mode="json")
    yield bundles.STUDY, [bundles.json_bytes(_study(session, study, parsed), indent=2)]
    yield bundles.SPEC, [yaml.safe_dump(spec, sort_keys=False, allow_unicode=True).encode()]
    yield bundles.TRIALS, _trials(session, study)
    if study.spec.confirm is not None:
        yield bundles.REPETITIONS, _repetitions(session, study)
    if about:
        yield bundles.ABOUT_WINNER, [about]
    if with_model:
        with _opened_model(service, study) as packed:
            yield bundles.MODEL, iter(lambda: packed.read(bundles.CHUNK_BYTES), b"")


def _study(session: Session, study: StudyRow, about: dict[str, Any]) -> dict[str, Any]:
    """Return the study's document."""
    recorded = about.get("versions")
    recorded = recorded if isinstance(recorded, dict) else {}
    extra = BundleStudy(
        **views.study_view(session, study).model_dump(),
        fingerprint=study.inspection.fingerprint if isinstance(study.inspection, Inspection) else None,
        versions={name: str(recorded[name]) for name in VERSIONS if name in recorded},
        base_model_sha256=str(about["model_sha256"]) if about.get("model_sha256") else None,
    )
    return extra.model_dump(mode="json", exclude={"etag"})


def _trials(session: Session, study: StudyRow) -> Iterator[bytes]:
    """Yield the trials by number, each a line."""
    rows = select(AssignmentRow).where(
        AssignmentRow.study_id == study.id, AssignmentRow.kind == AssignmentKind.TRAIN, ~AssignmentRow.deleted
    )
    after = -1
    while page := session.scalars(
        rows.where(AssignmentRow.number > after).order_by(AssignmentRow.number).limit(AT_ONCE)
    ).all():
        yield from _lines(session, page)
        after = page[-1].number
        for row in page:
            session.expunge(row)


def _repetitions(session: Session, study: StudyRow) -> Iterator[bytes]:
    """Yield the repetitions on fresh seeds, each a line with the number of the trial that had its configuration."""
    for candidate in confirmation.candidates(session, study):
        yield from _lines(session, candidate.repetitions, repetition_of=candidate.trial.number)


def _lines(session: Session, rows: Sequence[AssignmentRow], **extra: Any) -> Iterator[bytes]:
    for view in trial_views(session, rows):
        yield bundles.json_bytes({**extra, **view.model_dump(mode="json", exclude=LEFT_OUT)})


def _about_winner(service: Service, study: StudyRow) -> bytes:
    """Return the winner's luthier.json; nothing without one, or where its archive cannot be read."""
    if isinstance(study.model, StoredModel):
        with suppress(NotFound, ArchiveError), _opened_model(service, study) as packed:
            return read_member(packed, bundles.ABOUT_WINNER, MOST_ABOUT_BYTES) or b""
    return b""


def _mapping(content: bytes) -> dict[str, Any]:
    """Return a mapping in JSON; an empty one where the content is none."""
    with suppress(ValueError, RecursionError):
        mapping = json.loads(content)
        return mapping if isinstance(mapping, dict) else {}
    return {}


def _opened_model(service: Service, study: StudyRow) -> BinaryIO:
    """Return the winner's archive, open for reading. Raises NotFound when it is gone."""
    if study.model is None:
        raise NotFound(f"{study.name} has no model.")
    store = service.core.store
    return store.open(store.place(study.id, study.model.assignment, study.model.name))
