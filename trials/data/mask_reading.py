"""Masks that are written otherwise than as class ids: by colours, or with 0 for what does not count.

`data.media_columns` turns each into a png of class ids once, so that nothing else knows of it.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy
from PIL import Image

from luthier.studies.dataset import Dataset
from luthier.trials.data.images import upright
from luthier.trials.data.masks import IGNORED, Mask, decoded, try_mask
from luthier.trials.data.media import Unreadable
from luthier.trials.data.row_digests import Rewritten

_MODES = ("1", "L", "P", "RGB", "RGBA", "LA", "PA")  # of Pillow, with 8 bits a channel at most


@dataclass(frozen=True)
class MaskReading:
    """How a spec has masks read.

    Attributes:
        colours: (colour as 0xrrggbb, class id) of each colour; none: pixels are class ids.
        reduced: The id 0 does not count, and the others are lowered by 1.
    """

    colours: tuple[tuple[int, int], ...]
    reduced: bool

    @classmethod
    def of(cls, dataset: Dataset) -> "MaskReading | None":
        """Return what a data set says of its masks; None where they are class ids."""
        if dataset.colours is None and not dataset.do_reduce_labels:
            return None
        known = (dataset.colours or {}).items()
        return cls(tuple((int(colour[1:], 16), number) for colour, number in known), dataset.do_reduce_labels)

    def as_ids(self, item: Path | bytes) -> bytes:
        """Return a mask's file as a png of class ids, whose digest is that of the ids. Raises Unreadable."""
        ids = decoded(item, self._by_colour) if self.colours else decoded(item)
        if self.reduced:
            ids = numpy.where((ids == 0) | (ids == IGNORED), IGNORED, ids - 1).astype(numpy.uint8)
        written = io.BytesIO()
        Image.fromarray(ids).save(written, "PNG")
        try_mask(written.getvalue())
        return Rewritten.of(written.getvalue(), b"%d %d " % ids.shape + ids.tobytes())

    def _by_colour(self, image: Image.Image) -> Mask:
        """Return the class id of each pixel's colour. Raises Unreadable."""
        if image.mode not in _MODES:
            raise Unreadable(f"holds no colours of 8 bits ({image.mode})", "save it as png with red, green and blue")
        pixels = numpy.asarray(upright(image).convert("RGBA")).astype(numpy.int64)  # (height, width, 4)
        if (pixels[..., 3] != 255).any():
            raise Unreadable("has transparent pixels", "save it as png with red, green and blue alone")
        packed = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]
        found, places, counts = numpy.unique(packed, return_inverse=True, return_counts=True)
        known = dict(self.colours)
        pairs = zip(found.tolist(), counts.tolist(), strict=True)
        unknown = [(count, f"#{colour:06x}") for colour, count in pairs if colour not in known]
        if unknown:
            count, colour = max(unknown)
            reason = f"holds the colour {colour} in {count:,} pixels, which has no class id"
            if len(unknown) > 1:
                reason += f", nor {len(unknown) - 1:,} other colours"
            raise Unreadable(reason, f"add the colour to dataset.colours, {IGNORED} for what does not count")
        ids = numpy.array([known[colour] for colour in found.tolist()], dtype=numpy.uint8)
        return numpy.ascontiguousarray(ids[places].reshape(packed.shape))
