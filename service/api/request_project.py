"""The project that a request is about: the one that it names by `?project=`, else its token's own.

Browsers may name it by a cookie instead, which `projects` on our pages sets; a cookie that fits no more is passed over.
"""

from typing import Annotated

from fastapi import Query, Request

from luthier.service.api.credentials import PROJECT_COOKIE
from luthier.service.caller import PROJECT_NAME, Caller, Scope
from luthier.service.errors import Forbidden, Invalid
from luthier.service.schemas import Fault

RULE = "a project's name has 1 to 63 lower-case letters, digits and hyphens, and begins with a letter or a digit"


Project = Annotated[  # a route's parameter, which the access control has read before
    str | None,
    Query(
        pattern=f"^{PROJECT_NAME.pattern}$",
        description="The project that this is about; left out: the token's own. Only admins may name another.",
    ),
]


def project_of(request: Request, caller: Caller) -> str:
    """Return the project that a request is about.

    Raises:
        Invalid: it names two, or none that can be.
        Forbidden: it names another one than the token's own, which is no admin's.
    """
    named = list(dict.fromkeys(request.query_params.getlist("project")))
    if not named:
        return _of_cookie(request, caller)
    if len(named) > 1:
        raise _invalid("names two projects; name one")
    if not PROJECT_NAME.fullmatch(named[0]):
        raise _invalid(RULE)
    if not may_enter(caller, named[0]):
        text = f"The token {caller.name} is of the project {caller.project}, and may not use {named[0]}:"
        raise Forbidden(f"{text} leave ?project= out, or ask an admin for a token of {named[0]}.")
    return named[0]


def may_enter(caller: Caller, project: str) -> bool:
    """Return whether a caller may work in a project."""
    return Scope.ADMIN in caller.scopes or project == caller.project


def _of_cookie(request: Request, caller: Caller) -> str:
    """Return the project that a browser looks at; a program, which sends a bearer token, has none but its own."""
    chosen = request.cookies.get(PROJECT_COOKIE, "")
    if "authorization" in request.headers or not PROJECT_NAME.fullmatch(chosen) or not may_enter(caller, chosen):
        return caller.project
    return chosen


def _invalid(message: str) -> Invalid:
    return Invalid(f"project: {message}", [Fault(path="project", message=message)])
