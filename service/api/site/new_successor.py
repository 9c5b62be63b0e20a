"""Specs that begin from what is there: like another study, going on from its trials, or from those of a csv.

`new.py` shows them in the editor. A csv is read by the code that the command line and the client read one with.
"""

import tempfile
from pathlib import Path
from typing import Any

import yaml
from fastapi import UploadFile
from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.api import views
from luthier.service.api.context import Service
from luthier.service.client.old_trials import BadTrials, with_file_read
from luthier.service.errors import Invalid, unreadable
from luthier.service.lifecycle import study_rows
from luthier.service.storage.tables import StudyRow
from luthier.studies.documents import DocumentError, load_document

TAKEN = "whole trials where they fit, else their parameters, run anew"
NAME_CHARACTERS = 55  # of the name of before; a hyphen and a number come after it


def written(service: Service, name: str, goes_on: bool) -> str:
    """Return the spec of a study under a name that is not taken yet, as YAML. Raises NotFound.

    Args:
        service: the running service.
        name: the study's.
        goes_on: the new study takes over the trials of this one.
    """
    with service.core.database.reading() as session:
        spec = views.study_views(session, [study_rows.find(session, name)])[0].spec
        free = _free_name(session, name)
    spec = _said({key: value for key, value in spec.items() if key not in ("semantics", "from")})
    if not goes_on:
        return yaml.safe_dump(spec | {"name": free}, sort_keys=False, allow_unicode=True)
    del spec["name"]
    spec.pop("warm_start", None)  # its trials are among those that the new study goes on from
    rest = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)
    return f"name: {free}\nfrom: {{study: {name}, import: trials}}   # {TAKEN}\n{rest}"


def with_trials(text: str, file: UploadFile) -> str:
    """Return a spec with the trials of a csv under `from`, its lines and comments as they are. Raises Invalid.

    Args:
        text: the spec.
        file: the csv.
    """
    try:
        document = load_document(text)
    except DocumentError as error:
        raise unreadable(error) from None
    if not isinstance(document, dict):
        raise Invalid("The spec is no mapping of keys: write it first, then take over trials.")
    if "from" in document:
        raise Invalid("from: the spec names old trials already; remove that key, or keep it and take none from a file.")
    name = Path(file.filename or "trials.csv").name or "trials.csv"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trials.csv"
        path.write_bytes(file.file.read())
        try:
            trials = with_file_read({**document, "from": {"file": str(path)}})["from"]["trials"]
        except BadTrials as error:
            raise Invalid(str(error).replace(str(path), name)) from None
    origin = yaml.safe_dump({"from": {"trials": trials}}, sort_keys=False, allow_unicode=True, width=120)
    return f"{text.rstrip()}\n# {len(trials)} trials of {name if name.isprintable() else 'a file'}\n{origin}"


def _said(part: dict[str, Any]) -> dict[str, Any]:
    """Return a part of a spec without the keys that say nothing."""
    parts = {key: _said(value) if isinstance(value, dict) else value for key, value in part.items()}
    return {key: value for key, value in parts.items() if value is not None and value != {}}


def _free_name(session: Session, name: str) -> str:
    """Return a name after that of a study which no study of the project has."""
    base = name[:NAME_CHARACTERS]
    alike = (StudyRow.is_here(), StudyRow.name.startswith(f"{base}-", autoescape=True))
    taken = set(session.scalars(select(StudyRow.name).where(*alike)))
    return next(free for number in range(2, len(taken) + 3) if (free := f"{base}-{number}") not in taken)
