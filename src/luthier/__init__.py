"""Hyperparameter search for fine-tuning pretrained models.

`Client` is the typed client of a running service, `AsyncClient` its twin for event loops; LuthierError is the base of
all errors that they raise about the service. All names but LuthierError and the version are imported when they are
first used, so that `import luthier` costs nothing and a worker does not import the service's code.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from luthier.errors import LuthierError

if TYPE_CHECKING:
    from luthier.service.client import (
        AsyncClient,
        BadTrials,
        Blocked,
        Client,
        DownloadError,
        ExternalTrial,
        Plot,
        ServiceError,
        Unreachable,
    )

__all__ = [
    "AsyncClient",
    "BadTrials",
    "Blocked",
    "Client",
    "DownloadError",
    "ExternalTrial",
    "LuthierError",
    "Plot",
    "ServiceError",
    "Unreachable",
    "__version__",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Return a name of `luthier.service.client`, imported on first use. Raises AttributeError for any other name."""
    if name in __all__:
        return getattr(import_module("luthier.service.client"), name)
    raise AttributeError(f"module 'luthier' has no attribute {name!r}")
