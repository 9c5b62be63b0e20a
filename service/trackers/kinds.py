"""The trackers that there are, each opened where its library is installed."""

import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec

from luthier.errors import LuthierError
from luthier.service.trackers.tracker import Tracker

MODULES: Mapping[str, tuple[str, str]] = {
    "mlflow": ("mlflow_runs", "MlflowRuns"),
    "wandb": ("wandb_runs", "WandbRuns"),
    "tensorboard": ("tensorboard_files", "TensorboardFiles"),
    "trackio": ("trackio_runs", "TrackioRuns"),
}
"""Kind -> the file of this folder, and its class. The kind is also the library's name, and the extra's."""


class Unavailable(LuthierError):
    """A tracker that cannot be opened; the message says what to install, or which ones there are."""


def check(kind: str) -> None:
    """Raise Unavailable for an unknown tracker, or one whose library is not installed; imports nothing."""
    if kind not in MODULES:
        raise Unavailable(f"There is no tracker {kind!r}; there are {', '.join(MODULES)}.")
    if find_spec(kind) is None:
        raise Unavailable(f"The library of {kind} is not installed: pip install 'luthier[{kind}]'.")


def open_tracker(kind: str) -> Tracker:
    """Return a tracker that has been told nothing yet.

    Raises:
        Unavailable: it is unknown, or its library is not installed or cannot be imported.
    """
    check(kind)
    file, name = MODULES[kind]
    try:
        opened: Callable[[], Tracker] = getattr(import_module(f"luthier.service.trackers.{file}"), name)
        logging.getLogger(kind).setLevel(logging.ERROR)  # what fails is raised, too; the rest is nobody's concern here
        return opened()
    except ImportError as error:
        raise Unavailable(
            f"The library of {kind} cannot be imported ({error}): pip install 'luthier[{kind}]' brings one that fits."
        ) from None
