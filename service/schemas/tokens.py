"""Tokens and the log of who did what, as the REST interface answers them."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, FiniteFloat


class TokenView(BaseModel):
    """A token of a person or a program, without its secret.

    Attributes:
        scopes: what it may do; admin includes read and write, write includes read.
        project: the project that it works in where a request names none, and its only one unless it is an admin's.
        state: live, expired or revoked; only a live one opens anything.
        created_by: the name of the token that made it.
        expires_at: null for never.
        last_used_at: to about a minute; null for never.
        revoked_at: null for one that nobody has revoked.
        max_parallel: trials that may run at once, in all studies that this name has created; null for no limit.
        max_gpu_seconds: GPU seconds that these studies may use together; null for no limit.
    """

    id: int
    name: str
    scopes: list[Literal["read", "write", "worker", "admin"]]
    project: str
    state: Literal["live", "expired", "revoked"]
    created_at: AwareDatetime
    created_by: str
    expires_at: AwareDatetime | None = None
    last_used_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    max_parallel: int | None = None
    max_gpu_seconds: FiniteFloat | None = None


class NewTokenView(TokenView):
    """A token that was made just now.

    Attributes:
        secret: what to present; no service can show it again.
    """

    secret: str


class AuditView(BaseModel):
    """A request that changed something, or that was refused.

    Attributes:
        at: when it was answered.
        caller: the name of the token; `environment` for LUTHIER_TOKEN, `anonymous` for none or an unknown one.
        token_id: of that token; null for one that is in no database.
        project: the project that the request was about.
        action: its method and its route.
        subject: what it was about: the values in its path, or the name of what it made.
        status: of the answer.
        address: of the client.
    """

    id: int
    at: AwareDatetime
    caller: str
    token_id: int | None = None
    project: str
    action: str
    subject: str | None = None
    status: int
    address: str | None = None
