"""The secrets of tokens: how one is made, and the digest that is stored instead of it."""

import hashlib
import secrets

PREFIX = "luthier_"  # so that scanners, and people, know what a leaked one is
BYTES = 32  # of randomness in a secret


def new_secret() -> str:
    """Return a secret that nobody can guess, so that its digest needs neither salt nor a slow hash."""
    return PREFIX + secrets.token_urlsafe(BYTES)


def digest_of(secret: str) -> str:
    """Return the SHA-256 of a secret, in hexadecimal digits; whoever has it cannot find the secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def could_be_secret(text: str) -> bool:
    """Return whether a text may be the secret of a token; nothing else is looked for in the database."""
    return text.startswith(PREFIX) and len(text) < 200
