"""The exceptions that a worker and its child share: unusable data or files, an ended trial, a child that died.

All of `trials` raises and catches them. They import nothing but the protocol.
"""

from luthier.studies.protocol import Decision


class BadData(Exception):
    """The model or the data cannot be used as the spec says.

    Args:
        message: A sentence with the cure.
        path: The spec's field, as "dataset", "columns", "text".
    """

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.path = list(path)


class Away(BadData):
    """This worker lacks a file or a library that the work needs, or cannot use its own.

    Before a study's first trial that is a fault like any other. Once an inspection has found data and models good, the
    configuration is not to blame: the work is given back, and another worker, or a later attempt, may do it.
    """


class DamagedFile(Exception):
    """A file that the assignment names is missing from the store, or is not what it was. The text is a sentence."""


class NotReproduced(Exception):
    """A packed model, loaded again, does not give the recorded predictions. The text is a sentence with the cure."""


class Ended(Exception):
    """The service decided to end the trial now. `decision`: its answer to a report or a renewal."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)
        self.decision = decision


class ChildDied(Exception):
    """The child process ended, or sent something unreadable. The text says how."""


class OutOfMemory(ChildDied):
    """The child process was ended because it needed more memory than it may hold. The text is a sentence."""


class CannotWork(ChildDied):
    """No child process can work on this machine. The text is a sentence with the cure."""
