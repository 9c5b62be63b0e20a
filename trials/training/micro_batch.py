"""The number of examples that fit in a device's memory together, after more did not.

A child process holds one `MicroBatch`, in its `ModelCache`. The engine lowers it when memory does not suffice, the
measurement of memory works without it, and the child reports it to the service. It never imports torch.
"""

import contextlib
from collections.abc import Iterator


class MicroBatch:
    """The largest number of examples that a study's trials put through the model together.

    Attributes:
        limit: Examples. None: nothing has run out of memory yet, so that a batch goes through the model whole.
    """

    def __init__(self) -> None:
        self.limit: int | None = None

    def lower(self, examples: int) -> None:
        """Set the limit to `examples`, unless it is lower already."""
        self.limit = examples if self.limit is None else min(self.limit, examples)

    def within(self, examples: int) -> int:
        """Return the size of the first piece of a batch of `examples`: the limit, or the whole batch if it is smaller.

        Args:
            examples: Size of the batch, at least 1.
        """
        return examples if self.limit is None else min(self.limit, examples)

    @contextlib.contextmanager
    def without(self) -> Iterator[None]:
        """Lift the limit inside the context; afterwards the limit is what it was before."""
        limit = self.limit
        self.limit = None
        try:
            yield
        finally:
            self.limit = limit
