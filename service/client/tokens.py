"""The client's methods about tokens and the log of who did what, for admins."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from luthier.service.client.connection import Connection
from luthier.service.schemas import AuditView, NewTokenView, Page, TokenView


class TokenMethods(Connection):
    """The methods about tokens; `Client` has them. They raise ServiceError 403 for a token that is no admin's."""

    def create_token(
        self,
        name: str,
        scopes: Sequence[str],
        project: str | None = None,
        expires_at: datetime | str | None = None,
        max_parallel: int | None = None,
        max_gpu_seconds: float | None = None,
    ) -> NewTokenView:
        """Make a token, and return it with its `secret`, which no service can show again.

        Args:
            name: its person's or program's; live tokens have different ones.
            scopes: some of read, write, worker and admin.
            project: the project that it works in; None: that of the client's own token.
            expires_at: when it ends, with an offset; None for never.
            max_parallel: trials that may run at once, in all studies that this name creates; None for no limit.
            max_gpu_seconds: GPU seconds that these studies may use together; None for no limit.

        Raises:
            ServiceError: 409 when a live token has the name, 422 for a wrong value.
        """
        body: dict[str, Any] = {"name": name, "scopes": list(scopes), "project": project}
        body |= {"max_parallel": max_parallel, "max_gpu_seconds": max_gpu_seconds, "expires_at": _text(expires_at)}
        return self._transport.model(NewTokenView, "POST", "/v1/tokens", json=body)

    def tokens(self, state: str | None = None) -> Iterator[TokenView]:
        """Yield the tokens of all projects, newest first, without their secrets.

        Args:
            state: only those that are live, expired or revoked.
        """
        return self._transport.pages(Page[TokenView], "/v1/tokens", state)

    def change_token(self, id: int, changes: Mapping[str, Any]) -> TokenView:
        """Change a live token's `max_parallel`, `max_gpu_seconds` or `expires_at`; None takes one away.

        Raises:
            ServiceError: 404 for an unknown id, 409 for a token that has ended, 422 for a wrong value.
        """
        body = {key: _text(value) if key == "expires_at" else value for key, value in changes.items()}
        return self._transport.model(TokenView, "PATCH", f"/v1/tokens/{id}", json=body)

    def revoke_token(self, id: int) -> None:
        """Have a token open nothing any more. Raises ServiceError 404 for an unknown id."""
        self._transport.request("DELETE", f"/v1/tokens/{id}")

    def audit(self, caller: str | None = None, project: str | None = None) -> Iterator[AuditView]:
        """Yield who did what, newest first: requests that changed something, and those that were refused.

        Args:
            caller: only what the token of this name did.
            project: only what was about this project.
        """
        return self._transport.pages(Page[AuditView], "/v1/audit", caller=caller, project=project)


def _text(time: datetime | str | None) -> str | None:
    return time.isoformat() if isinstance(time, datetime) else time
