"""Masks that cannot be used, or mean something else than they seem to: refused or told, with rows and cure."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from luthier.studies.dataset import Dataset
from luthier.trials.data.load import Data
from luthier.trials.data.mask_targets import MaskTargets
from luthier.trials.data.masks import read_mask
from luthier.trials.errors import BadData
from tests.support.data import load_data
from tests.support.findings import about
from tests.support.tiny_masks import pair, write_pairs


def load(source: Path, **options: Any) -> Data:
    dataset = Dataset.model_validate({"source": str(source), "validation": 0.25, "test": 0.25, **options})
    return load_data(dataset, "image-segmentation", 0, verify=True)


def _saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


IDS = numpy.array([[0, 1, 2], [255, 0, 1]], numpy.uint8)


def _palette() -> Image.Image:
    image = Image.fromarray(IDS).convert("P")
    image.putdata(IDS.ravel().tolist())
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200] + [0] * 759)
    return image


@pytest.mark.parametrize(
    "file",
    [
        _saved(Image.fromarray(IDS)),
        _saved(_palette()),
        _saved(Image.fromarray(IDS.astype(numpy.uint16))),
        _saved(Image.fromarray(numpy.stack([IDS] * 3, 2))),
        _saved(Image.merge("LA", (Image.fromarray(IDS), Image.new("L", (3, 2), 255)))),
        _saved(Image.fromarray(IDS), "BMP"),
        _saved(Image.fromarray(IDS), "TIFF"),
        _saved(Image.fromarray(IDS), "PPM"),
    ],
    ids=["grey", "palette", "16 bits", "grey as RGB", "opaque alpha", "bmp", "tiff", "pgm"],
)
def test_class_ids_are_read_from_every_kind_of_file_that_keeps_them(file: bytes) -> None:
    assert read_mask(file, "a mask").tolist() == IDS.tolist()


def test_one_bit_is_two_classes() -> None:
    assert read_mask(_saved(Image.fromarray(IDS == 1)), "a mask").tolist() == (IDS == 1).astype(int).tolist()


def _colours() -> Image.Image:
    return Image.fromarray(numpy.stack([IDS, IDS * 0, IDS], 2))


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (_saved(_colours()), "holds colours (RGB), and nothing says which class a colour is; name them in dataset"),
        (_saved(Image.fromarray(IDS), "JPEG"), "is JPEG, which changes pixels when it is saved, and so class ids"),
        (_saved(Image.fromarray(IDS), "WEBP"), "is WEBP, which changes pixels"),
        (_saved(Image.fromarray(IDS.astype(numpy.uint16) * 300)), "holds the id 10964, and class ids go from 0 to 254"),
        (_saved(Image.fromarray(IDS.astype(numpy.float32)), "TIFF"), "holds decimal numbers"),
        (_saved(Image.merge("LA", (Image.fromarray(IDS),) * 2)), "has transparent pixels"),
        (_saved(Image.fromarray(IDS * 0 + 255)), "holds 255 only, and such pixels do not count; write its pixels'"),
        (_saved(Image.fromarray(IDS))[:45], "cannot be read as a mask"),
        (b"0 1 2", "is no mask that can be read (PNG, BMP, GIF, PPM, TIFF)"),
        (b"", "the file is empty"),
        (None, "cannot be opened (No such file or directory); paths start from"),
    ],
)
def test_a_mask_that_cannot_be_used_is_refused_by_its_row_or_left_out(
    file: bytes | None, said: str, tmp_path: Path
) -> None:
    source = write_pairs(tmp_path, 16)
    (tmp_path / "2_mask.png").unlink() if file is None else (tmp_path / "2_mask.png").write_bytes(file)
    with pytest.raises(BadData) as error:
        load(source)
    assert "row 3" in error.value.message
    assert said in error.value.message
    assert "Or leave it out with dataset.unreadable: skip." in error.value.message
    found = load(source, unreadable="skip")
    assert sum(found.rows.values()) == 15
    (left_out,) = about(found, "left-out")
    assert "row 3" in left_out.message
    assert not any(mask.item.name == "2_mask.png" for split in found.splits.values() for mask in split.targets)
    images = [image.stem for split in found.splits.values() for image in split.columns["image"]]
    masks = [mask.item.stem.removesuffix("_mask") for split in found.splits.values() for mask in split.targets]
    assert images == masks, "image and mask are left out together"


def _with(change: Callable[[Path], object], tmp_path: Path, message: str, **options: Any) -> None:
    source = write_pairs(tmp_path, 16)
    change(tmp_path)
    with pytest.raises(BadData) as error:
        load(source, **options)
    assert message in error.value.message


def test_masks_of_another_size_are_named(tmp_path: Path) -> None:
    def turn(folder: Path) -> None:
        for i in (1, 4):
            Image.fromarray(pair(i)[1].T).save(folder / f"{i}_mask.png")

    said = (
        "2 of 16 masks are of another size than their image: row 2 (line 3): the image has 40 by 48 pixels, its mask "
        "48 by 40 pixels, row 5"
    )
    _with(turn, tmp_path, said)


def test_a_mask_lies_upright_as_its_image_does(tmp_path: Path) -> None:
    source, (image, mask) = write_pairs(tmp_path, 16), pair(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(numpy.rot90(image).copy()).save(tmp_path / "0.png", exif=exif)
    assert sum(load(source).rows.values()) == 16
    Image.fromarray(mask.T.copy()).save(tmp_path / "0_mask.png")
    with pytest.raises(BadData, match=r"row 1 \(line 2\): the image has 40 by 48 pixels, its mask 48 by 40"):
        load(source)


def test_binary_masks_of_0_and_255_are_told_what_255_means(tmp_path: Path) -> None:
    source = write_pairs(tmp_path, 8, masks=[pair(i)[1] * 255 for i in range(8)])
    with pytest.raises(BadData) as error:
        load(source)
    said = "the masks hold the class 0 only (and 255, which stands for pixels that do not count); write 0 and 1"
    assert said in error.value.message


def test_ids_beyond_the_named_classes_are_refused_by_row(tmp_path: Path) -> None:
    def name(folder: Path) -> None:
        (folder / "id2label.json").write_text(json.dumps({"0": "ground", "1": "box"}))
        Image.fromarray(pair(3)[1] * 7).save(folder / "3_mask.png")

    _with(name, tmp_path, "1 masks hold class ids beyond the 2 that id2label.json names (0 to 1): row 4 (line 5): 7.")


@pytest.mark.parametrize("content", ["{", "3", '{"a": "b"}', '{"0": 1, "1": 2}', "[]", '{"-1": "x", "0": "y"}'])
def test_names_that_are_none_are_refused(content: str, tmp_path: Path) -> None:
    _with(lambda folder: (folder / "id2label.json").write_text(content), tmp_path, 'write {"0": "road", "1": "sky"}')


def test_names_that_are_the_same_are_refused(tmp_path: Path) -> None:
    said = "must name two classes or more, each by a name of its own"
    _with(lambda folder: (folder / "id2label.json").write_text('["a", "a"]'), tmp_path, said)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (None, ["0", "1"]),
        ({"0": "ground", "1": "box", "255": "nothing"}, ["ground", "box"]),
        (["ground", "box", "sky"], ["ground", "box", "sky"]),
        ({"1": "box", "0": "ground", "3": "sky"}, ["ground", "box", "2", "sky"]),
    ],
)
def test_classes_have_the_names_of_the_file_beside_the_table(content: Any, names: list[str], tmp_path: Path) -> None:
    source = write_pairs(tmp_path, 16)
    if content is not None:
        (tmp_path / "id2label.json").write_text(json.dumps(content))
    found = load(source)
    assert found.label_names == names
    assert found.labels == {name: 16 if i < 2 else 0 for i, name in enumerate(names)}
    unseen = about(found, "classes-without-pixels")
    assert bool(unseen) == (len(names) > 2)
    assert MaskTargets.restore(json.loads(json.dumps(found.targets.about))) == found.targets


def test_a_mask_of_several_rows_is_told(tmp_path: Path) -> None:
    source = write_pairs(tmp_path, 16)
    lines = list(csv.reader(source.read_text().splitlines()))
    lines[3][1] = lines[2][1]
    with source.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    (finding,) = about(load(source), "shared-masks")
    assert "1 masks stand in several rows: " in finding.message
    assert "1_mask.png" in finding.message


def test_grey_values_are_told_from_class_ids(tmp_path: Path) -> None:
    masks = [numpy.random.default_rng(i).integers(0, 250, (48, 40), dtype=numpy.uint8) for i in range(16)]
    (finding,) = about(load(write_pairs(tmp_path, 16, masks=masks)), "many-classes")
    assert "The masks hold 250 classes: are they grey values" in finding.message


def test_classes_that_training_lacks_are_told(tmp_path: Path) -> None:
    for split, top in (("train", 1), ("validation", 2)):
        (tmp_path / split).mkdir()
        write_pairs(tmp_path / split, 10, masks=[pair(i)[1] * top for i in range(10)])
    source = {split: str(tmp_path / split / "data.csv") for split in ("train", "validation")}
    dataset = Dataset.model_validate({"source": source, "test": 0})
    found = load_data(dataset, "image-segmentation", 0, verify=True)
    (finding,) = about(found, "classes-not-trained")
    assert finding.examples == ["2"]


def test_a_mask_outside_of_the_data_roots_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    source = write_pairs(tmp_path / "data", 16)
    (tmp_path / "data" / "0_mask.png").rename(tmp_path / "mask.png")
    source.write_text(source.read_text().replace("0_mask.png", "../mask.png", 1))
    assert sum(load(source).rows.values()) == 16
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", str(tmp_path / "data"))
    with pytest.raises(BadData, match="row 1"):
        load(source)


def test_a_folder_of_masks_that_leads_out_of_the_data_roots_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "secret.png").touch()
    (tmp_path / "data" / "masks").symlink_to(tmp_path / "out")
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", str(tmp_path / "data"))
    with pytest.raises(BadData, match=f"^{tmp_path}/data/masks lies outside the folders") as refused:
        load(tmp_path / "data")
    assert "secret" not in str(refused.value)


def test_another_mask_is_other_data(tmp_path: Path) -> None:
    source = write_pairs(tmp_path, 16)
    before = load(source).fingerprint
    assert load(source).fingerprint == before
    mask = pair(0)[1]
    mask[0, 0] = 1 - mask[0, 0]
    Image.fromarray(mask).save(tmp_path / "0_mask.png")
    assert load(source).fingerprint != before


def test_images_with_transparent_pixels_are_told(tmp_path: Path) -> None:
    source = write_pairs(tmp_path, 16)
    for i, alpha in ((2, 0), (3, 255)):
        image = Image.open(tmp_path / f"{i}.png").convert("RGBA")
        image.putpixel((0, 0), (0, 0, 0, alpha))
        image.save(tmp_path / f"{i}.png")
    (finding,) = about(load(source), "transparent-images")
    assert finding.message.startswith("1 of 16 images have transparent pixels: ")
    assert "row 3" in finding.message


def _folders(folder: Path, rows: int = 16, ending: str = "") -> Path:
    """Write `images` and `masks` into a folder."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in range(rows):
        image, mask = pair(i)
        Image.fromarray(image).save(folder / "images" / f"{i}.bmp")
        Image.fromarray(mask).save(folder / "masks" / f"{i}{ending}.png")
    return folder


@pytest.mark.parametrize("ending", ["", "_mask"])
def test_folders_of_images_and_masks_are_read_by_their_names(ending: str, tmp_path: Path) -> None:
    found = load(_folders(tmp_path / "data", ending=ending))
    assert found.rows == {"train": 8, "validation": 4, "test": 4}
    for split in found.splits.values():
        for image, mask in zip(split.columns["image"], split.targets, strict=True):
            assert mask.item.stem == f"{image.stem}{ending}"


def test_folders_of_splits_are_read_with_the_names_above_them(tmp_path: Path) -> None:
    for split, rows in (("train", 12), ("val", 6), ("test", 4)):
        _folders(tmp_path / split, rows)
    (tmp_path / "id2label.json").write_text(json.dumps(["ground", "box"]))
    found = load_data(Dataset.model_validate({"source": str(tmp_path)}), "image-segmentation", 0, verify=True)
    assert found.rows == {"train": 12, "validation": 6, "test": 4}
    assert found.label_names == ["ground", "box"]
    source = {"train": str(tmp_path / "train"), "validation": str(tmp_path / "val")}
    found = load_data(Dataset.model_validate({"source": source, "test": 0}), "image-segmentation", 0)
    assert found.rows == {"train": 12, "validation": 6, "test": 0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "masks" / "3.png").unlink(), "1 files of images have none of the same name in masks"),
        (lambda folder: (folder / "images" / "3.bmp").unlink(), "1 files of masks have none of the same name in image"),
        (lambda folder: (folder / "images" / "3.png").write_bytes(b"x"), "images holds 3.bmp and 3.png; remove one"),
        (lambda folder: (folder / "masks").rename(folder / "labels"), "holds neither a table nor the folders images"),
        (lambda folder: (folder / "masks" / "3.png").write_bytes(b"x"), "images/3.bmp: "),
        (
            lambda folder: (folder / "masks" / "3_mask.png").write_bytes(b"x"),
            "masks: 3.png and 3_mask.png both belong to 3.bmp of images; remove one of them.",
        ),
    ],
)
def test_folders_that_do_not_fit_are_refused(change: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    folder = _folders(tmp_path / "data")
    change(folder)
    with pytest.raises(BadData) as error:
        load(folder)
    assert said in error.value.message


def _written(folder: Path, masks: list[Image.Image]) -> Path:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for i, mask in enumerate(masks):
        Image.new("RGB", mask.size, (i, 0, 0)).save(folder / "images" / f"{i:02}.png")
        mask.save(folder / "masks" / f"{i:02}.png")
    return folder


def _of(data: Data) -> list[list[list[int]]]:
    return [read_mask(row.item, "a mask").tolist() for split in data.splits.values() for row in split.targets]


def test_colours_are_the_classes_that_a_spec_gives_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = numpy.array([(128, 64, 128), (70, 130, 180), (0, 0, 0)], numpy.uint8)
    pixels = Image.fromarray(table[numpy.minimum(IDS, 2)])
    colours = {"#804080": 0, "70, 130,180": 1, "#000000": 255}
    wanted = [[0, 1, 255], [255, 0, 1]]
    palette = _palette()
    palette.putdata(numpy.minimum(IDS, 2).ravel().tolist())
    palette.putpalette(table.ravel().tolist())
    folder = _written(tmp_path / "a", [pixels, palette, pixels.convert("RGBA")] * 4)
    assert _of(load(folder, colours=colours)) == [wanted] * 12
    before = load(folder, colours=colours).fingerprint
    save = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", lambda *given: save(*given, compress_level=0))
    assert load(folder, colours=colours).fingerprint == before, "another encoder writes other bytes"
    monkeypatch.undo()
    changed = _written(tmp_path / "c", [palette.rotate(180), *[palette] * 11])
    assert (
        load(changed, colours=colours).fingerprint
        != load(_written(tmp_path / "d", [palette] * 12), colours=colours).fingerprint
    )
    said = r"holds the colour #000000 in 2 pixels, which has no class id.*Add the colour to dataset.colours"
    with pytest.raises(BadData, match=said):
        load(folder, colours={"#804080": 0, "70,130,180": 1})
    clear = pixels.convert("RGBA")
    clear.putalpha(7)
    with pytest.raises(BadData, match=r"11.png: has transparent pixels; save it as png"):
        load(_written(tmp_path / "b", [pixels] * 11 + [clear]), colours=colours)


def test_the_first_class_is_left_out_where_labels_are_reduced(tmp_path: Path) -> None:
    masks = [Image.fromarray(IDS + (IDS < 255))] * 12  # ids from 1 on
    masks[0] = Image.fromarray(numpy.where(IDS == 2, 0, IDS + (IDS < 255)).astype(numpy.uint8))
    data = load(_written(tmp_path / "a", masks), do_reduce_labels=True)
    assert sorted(_of(data)) == sorted([IDS.tolist()] * 11 + [numpy.where(IDS == 2, 255, IDS).tolist()])
    assert data.label_names == ["0", "1", "2"]
    nothing = Image.new("L", (3, 2), 0)
    with pytest.raises(BadData, match=r"holds 255 only, and such pixels do not count"):
        load(_written(tmp_path / "b", [*masks, nothing]), do_reduce_labels=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"colours": {"red": 0}}, "'red' is no colour; write \"#804080\", or red, green and blue"),
        ({"colours": {"1,2,300": 0}}, "'1,2,300' is no colour"),
        ({"colours": {"#010203": 0, "1,2,3": 1}}, "'1,2,3' is named twice"),
        ({"colours": {"#010203": 256}}, "the class id 256; ids go from 0 to 254"),
        ({"colours": {"#010203": 0}, "do_reduce_labels": True}, "has no meaning beside colours"),
    ],
)
def test_colours_without_meaning_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Dataset.model_validate({"source": "a", **options})


def test_images_that_exif_turns_without_their_masks_are_told(tmp_path: Path) -> None:
    source = write_pairs(tmp_path, 16)
    exif = Image.Exif()
    exif[0x0112] = 3
    for i in range(16):
        for name in (f"{i}.png", f"{i}_mask.png")[: 2 - i % 2]:
            Image.open(tmp_path / name).save(tmp_path / name, exif=exif)
    found = load(source)
    (finding,) = about(found, "turned-images")
    stems = {path.stem for path in found.splits["train"].columns["image"]}
    assert {Path(example).stem for example in finding.examples} == {stem for stem in stems if int(stem) % 2}
