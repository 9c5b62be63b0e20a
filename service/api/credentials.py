"""What a request presents: the bearer token of a program, or the cookie of a browser that has logged in.

A cookie holds when it ends and which token it is of, signed. The key is made of the environment's token and, for one
of the database, of its digest: neither a copy of the database nor the secret of a token is enough to make a cookie.
"""

import hashlib
import hmac
import re
import time
from dataclasses import dataclass

from fastapi import Request
from itsdangerous import BadSignature, Signer

COOKIE = "luthier"
COOKIE_SECONDS = 12 * 3600  # a working day
PROJECT_COOKIE = "luthier-project"  # the project that a browser looks at, beside its login
_PAYLOAD = re.compile(r"(?P<ends>\d{1,12})(-(?P<token_id>\d{1,18}))?\.[\w-]+")


@dataclass(frozen=True)
class Login:
    """What a cookie says of itself, before its signature is checked.

    Attributes:
        ends: in seconds since the epoch.
        token_id: of the token that it is of; None for the environment's.
    """

    ends: int
    token_id: int | None


def bearer(request: Request) -> str:
    """Return the bearer token of a request; "" where it has none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def is_equal(presented: str, token: str | None) -> bool:
    """Return whether a presented token is this one, which is set; in constant time."""
    return token is not None and hmac.compare_digest(presented.encode(), token.encode())


def login_of(cookie: str) -> Login | None:
    """Return what a cookie says; None for one that no service has made."""
    match = _PAYLOAD.fullmatch(cookie)
    if match is None:
        return None
    return Login(int(match["ends"]), None if match["token_id"] is None else int(match["token_id"]))


class CookieSigner:
    """Makes and checks cookies; safe to share between threads."""

    def __init__(self, token: str | None) -> None:
        """Take the environment's token, if it is set."""
        self._token = token or ""

    def sign(self, token_id: int | None = None, digest: str = "") -> str:
        """Return a cookie, valid for COOKIE_SECONDS from now.

        Args:
            token_id: the token of the database that it is of; None for the environment's.
            digest: of that token's secret.
        """
        ends = str(int(time.time()) + COOKIE_SECONDS)
        return self._signer(digest).sign(ends if token_id is None else f"{ends}-{token_id}").decode()

    def is_valid(self, cookie: str, login: Login, digest: str = "") -> bool:
        """Return whether a cookie is signed and has not ended; the arguments as `sign` had them."""
        try:
            self._signer(digest).unsign(cookie)
        except BadSignature:
            return False
        return login.ends > time.time()

    def _signer(self, digest: str) -> Signer:
        # The signed value is the time of expiry, not (as in TimestampSigner) that of signing, which is refused by a
        # service of the same database whose clock is a little behind.
        key = self._token + digest
        return Signer(key, salt="luthier cookie", key_derivation="hmac", digest_method=hashlib.sha256)
