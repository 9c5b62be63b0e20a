"""Images of kinds that cameras, scanners and editors write: the pixels that are read, from files and when tried."""

import io
import warnings

import numpy
import pytest
from PIL import Image

from luthier.trials.data.images import read_image, try_image


def corners() -> numpy.ndarray:
    """An image of 16 by 12 whose quarters are red, green, blue and grey: (12, 16, 3)."""
    pixels = numpy.full((12, 16, 3), 128, numpy.uint8)
    pixels[:6, :8], pixels[:6, 8:], pixels[6:, :8] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    return pixels


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(content: bytes) -> numpy.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert try_image(content) != Image.open(io.BytesIO(content)).has_transparency_data, "transparency is told"
    return numpy.asarray(read_image(content, "x")).astype(int)


STORED = {  # EXIF's orientation -> the pixels as the camera stores them, of the picture as it is seen
    1: lambda seen: seen,
    2: lambda seen: seen[:, ::-1],
    3: lambda seen: seen[::-1, ::-1],
    4: lambda seen: seen[::-1],
    5: lambda seen: seen.transpose(1, 0, 2),
    6: lambda seen: numpy.rot90(seen),
    7: lambda seen: seen.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda seen: numpy.rot90(seen, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_is_turned_upright(orientation: int, kind: str) -> None:
    stored = Image.fromarray(numpy.ascontiguousarray(STORED[orientation](corners())))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    found = read(saved(stored, kind, exif=exif, **options))
    assert found.shape == (12, 16, 3)
    for y, x in ((2, 3), (2, 12), (9, 3), (9, 12)):
        assert numpy.abs(found[y, x] - corners()[y, x]).max() < 12


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_of_several_pictures_counts(kind: str) -> None:
    first, second = Image.fromarray(corners()), Image.new("RGB", (16, 12), (9, 9, 9))
    options = {"lossless": True} if kind == "WEBP" else {}
    found = read(saved(first, kind, save_all=True, append_images=[second, second], **options))
    assert numpy.abs(found - corners()).max() < 12


@pytest.mark.parametrize(("mode", "value", "seen"), [
    ("L", 200, (200, 200, 200)), ("1", 255, (255, 255, 255)), ("LA", (200, 0), (200, 200, 200)),
    ("RGBA", (10, 20, 30, 0), (10, 20, 30)), ("CMYK", (0, 255, 255, 0), (255, 0, 0)), ("I;16", 51_400, (200, 200, 200)),
    ("P", 0, (0, 0, 0)), ("YCbCr", (255, 128, 128), (255, 255, 255)),
])  # fmt: skip
def test_every_mode_has_its_colours(mode: str, value: int | tuple[int, ...], seen: tuple[int, ...]) -> None:
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    content = saved(Image.new(mode, (8, 8), value), kind)
    assert numpy.abs(read(content)[4, 4] - numpy.array(seen)).max() <= 3


def test_a_deep_colour_scan_is_scaled() -> None:
    wide = numpy.linspace(0, 65_535, 64).astype(numpy.uint16).reshape(8, 8)
    assert numpy.array_equal(read(saved(Image.fromarray(wide), "TIFF"))[..., 0], wide >> 8)
