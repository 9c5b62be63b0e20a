"""The exceptions of a worker and its child: unusable data, an ended trial, a child that cannot work or died."""

from luthier.studies.protocol import Decision


class BadData(Exception):
    """Model or data cannot be used as the spec says. `path` is the spec's path, as ("dataset", "columns", "text")."""

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.message, self.path = message, list(path)


class Ended(Exception):
    """The decision on a report or a renewal was to end the trial now."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)
        self.decision = decision


class ChildDied(Exception):
    """The child's process ended, or spoke nonsense. The text says how."""


class CannotWork(ChildDied):
    """No child can do its work on this machine. The text is a sentence with the cure."""
