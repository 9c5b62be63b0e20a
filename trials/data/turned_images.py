"""The finding on images that EXIF data turns: boxes and masks of these belong to the upright image.

`BoxTargets` and `MaskTargets` ask for it. An image on its side whose stated size or mask differs is refused before; one
that stands on its head, is mirrored, or is square has the same size both ways, and nothing else shows the slip.
"""

import contextlib
import io
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from luthier.studies.findings import Finding, note
from luthier.trials.data.images import IMAGE_FORMATS
from luthier.trials.data.masks import ORIENTATION
from luthier.trials.data.media_columns import in_threads
from luthier.trials.data.media_paths import Item
from luthier.trials.data.media_tree import listed

_UPRIGHT = range(2)  # EXIF's values for an image that is stored as it is shown
_NAMED = 10


def turned_findings(images: Sequence[Item], what: str, others: Sequence[Item] = ()) -> list[Finding]:
    """Return the note that training images are turned by their EXIF data.

    Args:
        images: Of the training rows.
        what: What belongs to places of an image, for the message: "boxes".
        others: A file for each image that is turned as it is; with the same entry it needs no note.
    """
    turns = in_threads(_turn, images)
    same = in_threads(_turn, others) if others else [0] * len(images)
    odd = [row for row, (turn, other) in enumerate(zip(turns, same, strict=True)) if turn not in (*_UPRIGHT, other)]
    if not odd:
        return []
    names = [str(images[row]) if isinstance(images[row], Path) else f"training row {row + 1}" for row in odd]
    text = f"{len(odd):,} of {len(images):,} training images are turned by their EXIF data: {listed(names, _NAMED)}. "
    text += f"Their {what} are taken as those of the upright image, as most tools show it."
    return [note("turned-images", text, len(odd), names, "Look at a few of them, or save the images upright.")]


def _turn(item: Item) -> int:
    """Return how EXIF data turns an image; 0 where it says nothing."""
    readable = (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error)
    with contextlib.suppress(*readable), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(item) if isinstance(item, bytes) else item, formats=IMAGE_FORMATS) as image:
            return int(image.getexif().get(ORIENTATION, 0))
    return 0
