"""Versions of the worker protocol: which a service serves, and what it says to a worker of another one.

The number changes when a worker or a service of the version before would misunderstand a message. Fields that are only
added, and may be left out, do not change it.
"""

from collections.abc import Iterable
from importlib import metadata

PROTOCOL = 1
"""The number that workers of this version send with each claim. Versions that sent none count as 1."""
OLDEST_PROTOCOL = 1
"""The oldest number that a service of this version serves."""
EXIT_OTHER_VERSION = 5
"""The exit code of a worker that its service refuses for its version. Nobody should start it again as it is."""
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")
"""Whose versions may change the scores of a trial, in the order in which differences are told."""


def refusal(protocol: int, version: str, own_version: str) -> str | None:
    """Return why a service refuses a worker, with the cure; None where it serves it.

    Args:
        protocol: the number that the worker sent.
        version: the worker's version of Luthier; "" where it did not say.
        own_version: the service's.
    """
    if OLDEST_PROTOCOL <= protocol <= PROTOCOL:
        return None
    side = "older" if protocol < OLDEST_PROTOCOL else "newer"
    return (
        f"This worker runs Luthier {version or 'of an unknown version'}, which speaks version {protocol} of the worker "
        f"protocol, {side} than the service's: it runs Luthier {own_version}, which speaks {_served()}. Install the "
        f"service's version where the worker runs, pip install luthier=={own_version}, and start it again."
    )


def _served() -> str:
    return f"{PROTOCOL}" if OLDEST_PROTOCOL == PROTOCOL else f"{OLDEST_PROTOCOL} to {PROTOCOL}"


def installed(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Return the versions of those of the libraries that are installed here, without importing any."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)[:50]
        except metadata.PackageNotFoundError:
            continue
    return versions
