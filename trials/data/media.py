"""Images and sounds of a column, whatever their kind: their names in messages, and why one cannot be used.

`images.py` and `sounds.py` decode them. Each unusable file is a BadData whose sentence names the file and the cure.
"""

from pathlib import Path

from luthier.trials.errors import Away, BadData

CURE = "repair it, or remove its row"


def named(item: Path | bytes, row: int, kind: str) -> str:
    """Return the name of a column's item in an error message, such as "The image of example 3"."""
    return str(item) if isinstance(item, Path) else f"The {kind} of example {row + 1}"


class Unreadable(Exception):
    """An image or a sound that cannot be used; the text is the end of a sentence, `cure` what to do."""

    def __init__(self, reason: str, cure: str = CURE) -> None:
        super().__init__(reason)
        self.cure = cure

    def bad_data(self, name: str) -> BadData:
        """Return the whole sentence as an error."""
        return Away(f"{name} {self}; {self.cure}.", "dataset", "source")
