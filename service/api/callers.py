"""Who makes a request: the caller behind its token, its cookie or its proxy's header.

The environment's tokens are looked at first, so that they open also while the database is away.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Self, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError

from luthier.service.access.known_tokens import KnownToken, KnownTokens
from luthier.service.access.secrets import could_be_secret, digest_of
from luthier.service.api.credentials import COOKIE, CookieSigner, bearer, is_equal, login_of
from luthier.service.api.proxy_login import ProxyLogin
from luthier.service.caller import Caller, Scope, with_included
from luthier.service.errors import Forbidden, Unauthorized, Unavailable
from luthier.service.settings import Settings
from luthier.service.times import instant

T = TypeVar("T")
THREADS = 8  # of look-ups; requests that wait for them take no thread of those under way
ENVIRONMENT = Caller("environment", with_included([Scope.ADMIN]))  # LUTHIER_TOKEN: the first admin
LOCAL = Caller("local", frozenset(Scope))  # whoever is on this machine, where no token is asked for
LOCAL_USER = Caller("local", with_included([Scope.ADMIN]))  # the same, where workers need a token
FLEET = Caller("fleet", frozenset({Scope.WORKER}))  # the workers that the service has started itself
WORKER = Caller("worker", frozenset({Scope.WORKER}))  # LUTHIER_WORKER_TOKEN
NOBODY = Caller("anonymous", frozenset())  # whoever asks for what needs no token


@dataclass(frozen=True)
class Tokens:
    """The tokens that a service is started with; None where one is not set.

    Attributes:
        user: LUTHIER_TOKEN, for users and programs.
        worker: LUTHIER_WORKER_TOKEN, for workers that others start.
        fleet: for the workers that the service starts itself; random, made at the start.
    """

    user: str | None
    worker: str | None
    fleet: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the tokens of `settings`, with a new one for the fleet."""
        user, worker = settings.token, settings.worker_token
        return cls(user.get_secret_value() if user else None, worker.get_secret_value() if worker else None)

    def caller(self, presented: str) -> Caller | None:
        """Return whose token this is; None where it is none of these."""
        tokens = ((self.user, ENVIRONMENT), (self.fleet, FLEET), (self.worker, WORKER))
        return next((caller for token, caller in tokens if presented and is_equal(presented, token)), None)


class Callers:
    """Names the caller of a request. It belongs to no event loop, and threads may share it."""

    def __init__(self, tokens: Tokens, known: KnownTokens, proxy: ProxyLogin | None = None) -> None:
        """Take the environment's tokens, what is known of those in the database, and the login by a proxy, if any."""
        self.tokens = tokens
        self._proxy = proxy
        self.known = known
        self.cookies = CookieSigner(tokens.user)
        self._threads: CapacityLimiter | None = None

    async def of_worker(self, request: Request) -> Caller:
        """Return the caller of the worker protocol, by bearer tokens only. Raises Unauthorized, Unavailable."""
        presented = bearer(request)
        caller = await self._of_bearer(request, presented)
        if caller is not None:
            return caller
        if self.tokens.worker is None and await self._is_open():
            return LOCAL
        told = "That is not this service's worker token" if presented else "Workers present the worker token"
        raise Unauthorized(f"{told}: set LUTHIER_WORKER_TOKEN to the same on both sides.")

    async def of_user(self, request: Request) -> Caller:
        """Return the caller of anything else. Raises Unauthorized, Unavailable."""
        presented = bearer(request)
        caller = await (self._of_bearer(request, presented) if presented else self._of_browser(request))
        if caller is not None:
            return caller
        if await self._is_open():
            return LOCAL if self.tokens.worker is None else LOCAL_USER
        raise Unauthorized(_refusal(request, presented))

    async def log_in(self, presented: str) -> tuple[Caller, str] | None:
        """Return who logs in with a token of a user, and a cookie; None for any other text. Raises Unavailable."""
        if self.tokens.user is not None and is_equal(presented, self.tokens.user):
            return ENVIRONMENT, self.cookies.sign()
        token = await self._token(presented)
        if token is None or not token.is_live or not token.scopes - {Scope.WORKER}:
            return None
        return self._caller(token), self.cookies.sign(token.id, token.digest)

    async def _of_bearer(self, request: Request, presented: str) -> Caller | None:
        """Return whose bearer token this is; None for an unknown one. Raises Unauthorized for a dead one."""
        caller = self.tokens.caller(presented)
        if caller is not None:
            return caller
        token = await self._token(presented)
        return None if token is None else self._alive(request, token)

    async def _of_browser(self, request: Request) -> Caller | None:
        """Return whom the proxy names, else who has logged in; None for nobody. Raises Unauthorized, Forbidden."""
        name = None if self._proxy is None else self._proxy.name(request)
        return await (self._of_cookie(request) if name is None else self._of_person(name))

    async def _of_person(self, name: str) -> Caller:
        """Return the caller whom a proxy names: an admin, or with the token of that name, or as the settings say.

        Raises Forbidden where the last token of that name was revoked or has expired: the name alone opens less then.
        """
        assert self._proxy is not None
        if name in self._proxy.admins:
            return Caller(name, with_included([Scope.ADMIN]), self._proxy.project)
        token = await self._ask("name", name, partial(self.known.by_name, name))
        if token is not None and token.is_live:
            return self._caller(token)
        if token is not None:
            raise Forbidden(f"{_dead(token)} Until {name} has another one, nothing is open.")
        scopes = with_included([self._proxy.scope] if self._proxy.scope else [])
        return Caller(name, scopes, self._proxy.project)

    async def _of_cookie(self, request: Request) -> Caller | None:
        """Return who has logged in; None for nobody. Raises Unauthorized where the login's token is dead."""
        cookie = request.cookies.get(COOKIE, "")
        login = login_of(cookie)
        if login is None:
            return None
        if login.token_id is None:
            is_users = self.tokens.user is not None and self.cookies.is_valid(cookie, login)
            return ENVIRONMENT if is_users else None
        token = await self._ask("id", login.token_id, partial(self.known.by_id, login.token_id))
        if token is None or not self.cookies.is_valid(cookie, login, token.digest):
            return None
        return self._alive(request, token, " This login has ended with it.")

    def _alive(self, request: Request, token: KnownToken, more: str = "") -> Caller:
        """Return the caller with a token. Raises Unauthorized for a dead one, under whose name the log has it."""
        if token.is_live:
            return self._caller(token)
        request.state.caller = Caller(token.name, frozenset(), token.project, token.id)
        raise Unauthorized(_dead(token) + more)

    async def _token(self, presented: str) -> KnownToken | None:
        if not could_be_secret(presented):
            return None
        digest = digest_of(presented)
        return await self._ask("digest", digest, partial(self.known.by_digest, digest))

    def _caller(self, token: KnownToken) -> Caller:
        self.known.note_use(token.id)
        return Caller(token.name, token.scopes, token.project, token.id)

    async def _is_open(self) -> bool:
        """Return whether no token is asked for: none is set, and no admin has one, who would ask for it."""
        if self.tokens.user is not None:
            return False
        return not await self._ask("admin", "", self.known.any_admin)

    async def _ask(self, kind: str, key: str | int, ask: Callable[[], T]) -> T:
        """Return what the database knows, or what it said a moment ago. Raises Unavailable."""
        try:
            if self.known.is_known(kind, key):
                return ask()
            if self._threads is None:
                self._threads = CapacityLimiter(THREADS)
            return await anyio.to_thread.run_sync(ask, limiter=self._threads)
        except SQLAlchemyError:
            raise Unavailable(
                "The database, which knows the tokens, does not answer; try again shortly.", retry_after=2
            ) from None


def _dead(token: KnownToken) -> str:
    """Return why a token opens nothing any more, and what to do."""
    if token.revoked_at is not None:
        return f"The token {token.name} was revoked at {_utc(token.revoked_at)}: ask an admin for another one."
    return f"The token {token.name} has expired at {_utc(token.expires_at)}: ask an admin for another one."


def _utc(seconds: float | None) -> str:
    time = instant(seconds)
    return "an unknown time" if time is None else f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _refusal(request: Request, presented: str) -> str:
    """Return why a user's request is refused: its token is wrong, its login is over, or it has neither."""
    if presented:
        return "That is not this service's token: the request has another one."
    if "authorization" in request.headers:
        return "The header Authorization holds no token: send `Authorization: Bearer <token>`."
    if COOKIE in request.cookies:
        return "The login has ended, or is another service's: log in at /login."
    return "This service asks for a token: send `Authorization: Bearer <token>`, or log in at /login."
