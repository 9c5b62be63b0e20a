"""The caller: who makes the request that this thread or task works on, and in which project.

The access control sets it before any route runs; threads that work for a request get it with its context. Whatever
looks up a study, a schedule or a data set by name looks in the caller's project, so that no route can forget to.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import StrEnum

DEFAULT_PROJECT = "default"
PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Scope(StrEnum):
    """What a token may do. Admin includes read and write, write includes read; worker includes neither."""

    READ = "read"
    WRITE = "write"
    WORKER = "worker"
    ADMIN = "admin"


INCLUDED = {Scope.ADMIN: frozenset({Scope.READ, Scope.WRITE}), Scope.WRITE: frozenset({Scope.READ})}


def with_included(scopes: Iterable[Scope]) -> frozenset[Scope]:
    """Return scopes, and those that they include."""
    given = frozenset(scopes)
    return given.union(*(INCLUDED.get(scope, frozenset()) for scope in given))


@dataclass(frozen=True)
class Caller:
    """Who makes a request.

    Attributes:
        name: the name of the token, which is its person's or program's.
        scopes: what it may do, with the scopes that are included in others.
        project: the project that the request is about: the one that it names, else the token's own.
        token_id: the id of the token's row; None for the environment's token, and where no token is asked for.
    """

    name: str
    scopes: frozenset[Scope]
    project: str = DEFAULT_PROJECT
    token_id: int | None = None


SERVICE = Caller("service", frozenset(Scope))  # the service itself: its threads, and programs that embed it
_current: ContextVar[Caller] = ContextVar("caller", default=SERVICE)


def current() -> Caller:
    """Return the caller of the request that is worked on; outside of one, the service itself."""
    return _current.get()


def service_in(project: str, owner: str | None = None) -> Caller:
    """Return the service as the caller of work for a project that no request asks for, as a schedule's runs.

    Args:
        project: the project's name.
        owner: whose limits hold for the studies that it creates; None for nobody's.
    """
    return replace(SERVICE, project=project, name=owner or SERVICE.name)


@contextmanager
def acting(caller: Caller) -> Iterator[None]:
    """Work on behalf of a caller until the block ends."""
    before = _current.set(caller)
    try:
        yield
    finally:
        _current.reset(before)
