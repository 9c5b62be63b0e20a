"""Hyperparameter search for fine-tuning pretrained models.

`Client` is the typed client of a running service. It is imported when it is first used, so that `import luthier` costs
nothing and a worker does not import the service's code.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luthier.service.client import Client

__all__ = ["Client", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Return `luthier.Client`, imported on first use. Raises AttributeError for any other name."""
    if name == "Client":
        from luthier.service.client import Client

        return Client
    raise AttributeError(f"module 'luthier' has no attribute {name!r}")
