"""Functions that the routes of studies, schedules and plans share: creation by name, a sampler check."""

from collections.abc import Callable
from typing import TypeVar

from fastapi import Response
from sqlalchemy.exc import IntegrityError

from luthier.service.errors import Invalid
from luthier.service.schemas import Fault
from luthier.studies.origin import unread_file
from luthier.studies.search.feasibility import search_problems
from luthier.studies.search.samplers import missing_packages
from luthier.studies.spec import StudySpec

V = TypeVar("V")


def find_or_create(attempt: Callable[[], tuple[bool, V]], response: Response, location: str) -> V:
    """Return what `attempt` finds or creates, and say which in the response: 200 or 201, and where it is.

    Args:
        attempt: looks for the name in a transaction of its own and creates what is not there; returns whether it did,
            and the view. It is called again if another request inserted the same name between its look and its insert.
        response: gets the status and the Location.
        location: the path of the study or schedule.
    """
    try:
        created, view = attempt()
    except IntegrityError:
        created, view = attempt()
    response.status_code = 201 if created else 200
    response.headers["Location"] = location
    return view


def check_sampler(spec: StudySpec, *inside: str) -> None:
    """Raise Invalid if the spec's sampler cannot draw, its pruner cannot prune, or a package that it needs is missing.

    Args:
        spec: a study's spec.
        inside: the path of the spec in the document that the user sent.
    """
    missing = missing_packages(spec)
    if missing:
        message = f"{spec.sampler.name} needs {', '.join(missing)} where the service runs: pip install it, or use tpe"
        path = ".".join((*inside, "sampler.name"))
        raise Invalid(f"{path}: {message}", [Fault(path=path, message=message)])
    problems = search_problems(spec)
    if problems:
        faults = [Fault(path=".".join(map(str, (*inside, *path))), message=text) for path, text in problems]
        raise Invalid("; ".join(map(str, faults)), faults)


def check_origin(spec: StudySpec) -> None:
    """Raise Invalid if the spec names a file of old trials, which lies where its user is."""
    problems = unread_file(spec.origin)
    if problems:
        faults = [Fault(path=".".join(map(str, path)), message=text) for path, text in problems]
        raise Invalid("; ".join(map(str, faults)), faults)
