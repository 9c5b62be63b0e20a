"""Boxes that cannot be used, or mean something else than they seem to: refused or told, with rows and cure."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from luthier.studies.dataset import Dataset
from luthier.trials.data.box_targets import BoxRow, BoxTargets
from luthier.trials.data.load import Data
from luthier.trials.errors import BadData
from tests.support.data import load_data
from tests.support.findings import about
from tests.support.tiny_boxes import coco, picture, write_boxes, write_coco

WIDTH, HEIGHT = 40, 48


def load(source: Path, **options: Any) -> Data:
    dataset = Dataset.model_validate({"source": str(source), "validation": 0.25, "test": 0.25, **options})
    return load_data(dataset, "object-detection", 0, verify=True)


def _table(folder: Path, cell: Any, rows: int = 16) -> Path:
    """Write images whose objects are those of `picture`, but for those of row 3."""
    file = write_boxes(folder, rows)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[2]["objects"] = cell
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def _one(box: Any, category: Any = "joy") -> dict[str, Any]:
    return {"bbox": [box], "category": [category]}


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (None, 'row 3 (line 3): column \'objects\' is empty; write {"bbox": [], "category": []} for an image'),
        (7, 'holds 7; write {"bbox": [[x, y, width, height], ...], "category": [name or id, ...]}'),
        ("{1", "is no JSON"),
        ({"bbox": []}, "has no 'category', only 'bbox'"),
        ({"bbox": [[1, 2, 3, 4]], "category": []}, "holds 1 boxes and 0 categories"),
        ({"bbox": [1, 2, 3, 4], "category": ["joy"] * 4}, "has 1 as box 1; write four numbers: x, y, width, height"),
        ({"bbox": "1 2 3 4", "category": ["joy"]}, "holds one box or one category where a list is wanted"),
        (_one([1, 2, 3]), "has [1, 2, 3] as box 1"),
        (_one([1, 2, float("nan"), 4]), "as box 1, of which not all are numbers; correct or remove it"),
        (_one([1, 2, "3", 4]), "of which not all are numbers"),
        (_one([1, 2, 8, 8], None), "has nothing as category 1; write a name, or a class id from 0 on"),
        (_one([1, 2, 8, 8], 1.5), "has 1.5 as category 1"),
        (_one([1, 2, 8, 8], 5), "categories are names ('anger') and numbers (5); write all in one way"),
        (_one([1, 2, 0, 8]), "boxes have no area: row 3 (line 3): box 1 is [1, 2, 0, 8]. Width and height are above 0"),
        (_one([9, 2, -5, 8]), "boxes have no area: row 3 (line 3): box 1 is [9, 2, -5, 8]"),
        (_one([30, 2, 20, 8]), "boxes lie outside of their image: row 3 (line 3): box 1 is [30, 2, 20, 8], and the"),
        (_one([-5, 2, 20, 8]), "is [-5, 2, 20, 8], and the image has 40 by 48 pixels. A box is [x, y, width, height]"),
        (_one([40, 2, 1, 8]), "boxes lie outside of their image: row 3 (line 3): box 1 is [40, 2, 1, 8]"),
        ({**_one([1, 2, 8, 8]), "iscrowd": [0, 1]}, "holds 1 boxes and 2 values of iscrowd"),
        ({**_one([1, 2, 8, 8]), "iscrowd": ["0"]}, "has '0' as iscrowd of box 1; write 0 or 1"),
        ({**_one([1, 2, 8, 8]), "iscrowd": [float("nan")]}, "has nan as iscrowd of box 1; write 0 or 1"),
    ],
)
def test_cells_that_cannot_be_used_are_refused(cell: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"data\.jsonl") as refused:
        load(_table(tmp_path, cell))
    assert said in str(refused.value)
    assert refused.value.path == ["dataset", "source"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda x, y, w, h: [x, y, x + w, y + h],
            "all of them fit as corners [left, upper, right, lower]; write [left, upper, right - left, lower - upper].",
        ),
        (
            lambda x, y, w, h: [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT],
            "lie between 0 and 1, so they are parts of the sides; multiply x and width by the image's width, y and "
            "height by its height. YOLO's x and y are centres: take away half of width and height first.",
        ),
    ],
    ids=["corners", "shares"],
)
def test_boxes_in_another_form_are_known(change: Callable[..., list[float]], said: str, tmp_path: Path) -> None:
    file = write_boxes(tmp_path, 16)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        line["objects"]["bbox"] = [change(*box) for box in line["objects"]["bbox"]]
    file.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(BadData) as refused:
        load(file)
    assert said in str(refused.value)


@pytest.mark.parametrize("size", [[81], "large", {"width": 1}, None, [81, 90], [81, 90, 3]])
def test_a_size_among_the_keys_of_a_cell_is_passed_over(size: Any, tmp_path: Path) -> None:
    plain = load(_table(tmp_path, _one([1, 2, 8, 8])))
    assert _rows(load(_table(tmp_path, {**_one([1, 2, 8, 8]), "size": size}))) == _rows(plain)
    two = {"bbox": [[1, 2, 8, 8], [9, 9, 9, 10]], "category": ["joy", "joy"]}
    assert _rows(load(_table(tmp_path, {**two, "size": size}))) == _rows(load(_table(tmp_path, two)))


def _rows(data: Data) -> set[BoxRow]:
    return {row for split in data.splits.values() for row in split.targets}


def test_the_ways_to_write_objects_are_one(tmp_path: Path) -> None:
    plain = load(write_boxes(tmp_path, 16))
    assert plain.targets.label_names == ["anger", "joy"]
    assert sum(plain.labels.values()) == sum(len(picture(i)[1]) for i in range(16))
    lines = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text().splitlines()]

    as_list = tmp_path / "list.json"
    cells = [
        [
            {"bbox": box, "label": label, "area": 5, "id": 1, "iscrowd": 0}
            for box, label in zip(line["objects"]["bbox"], line["objects"]["category"], strict=True)
        ]
        for line in lines
    ]
    as_list.write_text(json.dumps([{**line, "objects": cell} for line, cell in zip(lines, cells, strict=True)]))
    as_csv = tmp_path / "table.csv"
    with as_csv.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("image", "objects"), *((line["image"], json.dumps(line["objects"])) for line in lines)]
        )
    for other in (as_list, as_csv):
        assert _rows(load(other)) == _rows(plain)
    assert _rows(load(write_coco(tmp_path, 16))) == {
        BoxRow(row.size, tuple(box._replace(label=1 - box.label) for box in row.boxes)) for row in _rows(plain)
    }  # the order of COCO's categories is theirs


def test_features_of_the_hub_name_the_classes(tmp_path: Path) -> None:
    import datasets

    write_boxes(tmp_path, 16)
    lines = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text().splitlines()]
    for line in lines:
        line["objects"]["category"] = [int(label == "joy") for label in line["objects"]["category"]]
    label = datasets.ClassLabel(names=["cross", "glad", "never"])
    features = datasets.Features(
        {
            "image": datasets.Value("string"),
            "objects": {
                "bbox": datasets.Sequence(datasets.Sequence(datasets.Value("float32"), length=4)),
                "category": datasets.Sequence(label),
            },
        }
    )
    datasets.Dataset.from_list(lines, features=features).to_parquet(str(tmp_path / "data.parquet"))
    data = load(tmp_path / "data.parquet")
    assert data.targets.label_names == ["cross", "glad", "never"]
    (unused,) = about(data, "classes-without-objects")
    assert unused.examples == ["never"]


def test_ids_are_named_by_a_file_beside_the_table(tmp_path: Path) -> None:
    file = write_boxes(tmp_path, 16)
    file.write_text(file.read_text().replace('"joy"', "4").replace('"anger"', "7"))
    assert load(file).targets.label_names == ["4", "7"]
    (tmp_path / "id2label.json").write_text(json.dumps(["a", "b", "c", "d", "four", "e", "f", "seven"]))
    assert load(file).labels["seven"] > 0
    (tmp_path / "id2label.json").write_text(json.dumps(["a", "b", "c", "d", "four"]))
    with pytest.raises(BadData, match=r"have a category that is not among the 5 that are named: row .*: 7"):
        load(file)


def _turned(folder: Path, name: str) -> None:
    """Save an image on its side, with an EXIF entry that turns it upright: 40 wide and 48 high."""
    image = Image.fromarray(numpy.zeros((WIDTH, HEIGHT, 3), numpy.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / name, exif=exif)


def test_boxes_belong_to_the_upright_image(tmp_path: Path) -> None:
    file = _table(tmp_path, _one([2, 40, 10, 7]))
    _turned(tmp_path, "2.png")
    assert BoxRow((WIDTH, HEIGHT), ((1, 2, 40, 10, 7, False),)) in _rows(load(file))  # type: ignore[arg-type]

    found = coco(tmp_path, 16)
    _turned(tmp_path, "2.png")
    found["images"][2] |= {"width": HEIGHT, "height": WIDTH}
    (tmp_path / "coco.json").write_text(json.dumps(found))
    with pytest.raises(BadData) as refused:
        load(tmp_path / "coco.json")
    assert "image 12 (2.png): 48 by 40 stated, 40 by 48 found" in str(refused.value)
    assert "turn the boxes, width and height with it, or save the images without that entry" in str(refused.value)


def _without_image(found: dict[str, Any]) -> None:
    found["annotations"][0]["image_id"] = 99


def _without_category(found: dict[str, Any]) -> None:
    found["annotations"][0]["category_id"] = 9


def _doubled_id(found: dict[str, Any]) -> None:
    found["images"][1]["id"] = 10


def _doubled_file(found: dict[str, Any]) -> None:
    found["images"][1]["file_name"] = "0.png"


def _doubled_category(found: dict[str, Any]) -> None:
    found["categories"][1]["name"] = found["categories"][0]["name"]


def _no_categories(found: dict[str, Any]) -> None:
    found["categories"] = []


def _categories_left_out(found: dict[str, Any]) -> None:
    del found["categories"]


def _no_box(found: dict[str, Any]) -> None:
    del found["annotations"][0]["bbox"]


def _missing_file(found: dict[str, Any]) -> None:
    found["images"][3]["file_name"] = "elsewhere.png"


def _outside(found: dict[str, Any]) -> None:
    found["images"][3]["file_name"] = "../../../../etc/hostname"


def _other_size(found: dict[str, Any]) -> None:
    found["images"][3] |= {"width": 80, "height": 96}


def _no_name(found: dict[str, Any]) -> None:
    del found["images"][3]["file_name"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without_image, "annotation 1: its image 99 is not among the images; add it there, or remove"),
        (_without_category, "annotation 1: its category_id 9 is none of the categories, 3 (joy), 4 (anger), 5 (fear)"),
        (_doubled_id, "the images 0.png and 1.png have the same id, 10; number them anew"),
        (_doubled_file, "1 files stand twice among the images: 0.png; give their boxes to one of each"),
        (_doubled_category, "category 2: the id 4 or the name 'joy' stands twice"),
        (_no_categories, "names no categories"),
        (_categories_left_out, 'names no categories; write them as "categories": [{"id": 1, "name": "dog"}]'),
        (_no_box, "annotation 1: has no bbox"),
        (_no_name, 'image 4: has no id or no file_name; write {"id": 1, "file_name": "1.jpg"}'),
        (_missing_file, "image 13 (elsewhere.png): it cannot be opened (No such file or directory)"),
        (_outside, "hostname"),
        (_other_size, "image 13 (3.png): 80 by 96 stated, 40 by 48 found. Name the images that the boxes were drawn"),
    ],
)
def test_coco_files_that_contradict_themselves_are_refused(
    spoil: Callable[[dict[str, Any]], None], said: str, tmp_path: Path
) -> None:
    found = coco(tmp_path, 16)
    spoil(found)
    (tmp_path / "coco.json").write_text(json.dumps(found))
    with pytest.raises(BadData) as refused:
        load(tmp_path / "coco.json")
    assert said in str(refused.value)


def test_a_name_that_no_file_can_have_is_told_with_its_image(tmp_path: Path) -> None:
    file = write_coco(tmp_path, 16)
    found = json.loads(file.read_text())
    found["images"][0]["file_name"] = "street (1) " * 30
    file.write_text(json.dumps(found))
    with pytest.raises(BadData, match=r"image 10 \(street .*: it cannot be opened \(File name too long\); check"):
        load(file)
    assert sum(load(file, unreadable="skip").rows.values()) == 15  # the others tell that images are in `images`


def _hub(folder: Path, rows: int) -> None:
    lines = [json.loads(line) for line in write_boxes(folder, rows).read_text().splitlines()]
    (folder / "data.jsonl").unlink()
    text = "\n".join(json.dumps({"file_name": line["image"], "objects": line["objects"]}) for line in lines)
    (folder / "metadata.jsonl").write_text(text)


def _splits(root: Path, write: Callable[[Path, int], object]) -> None:
    for name, rows in (("train", 12), ("valid", 8), ("test", 8)):
        (root / name).mkdir()
        write(root / name, rows)


def _standard(root: Path) -> None:
    (root / "annotations").mkdir()
    for name, rows in (("train2017", 12), ("val2017", 8)):
        found = coco(root, rows, name)
        (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(found))
        (root / "annotations" / f"captions_{name}.json").write_text("[]")


@pytest.mark.parametrize(
    ("write", "rows"),
    [
        (lambda root: _hub(root, 16), (8, 4, 4)),
        (lambda root: _splits(root, _hub), (12, 8, 8)),
        (lambda root: _splits(root, write_coco), (12, 8, 8)),
        (lambda root: write_coco(root, 16), (8, 4, 4)),
    ],
    ids=["metadata", "metadata in splits", "coco in splits", "coco"],
)
def test_folders_are_read(write: Callable[[Path], None], rows: tuple[int, ...], tmp_path: Path) -> None:
    write(tmp_path)
    assert tuple(load(tmp_path).rows.values()) == rows


def test_the_folders_of_coco_itself_are_read(tmp_path: Path) -> None:
    _standard(tmp_path)
    assert load(tmp_path, test=0).rows == {"train": 12, "validation": 8, "test": 0}
    split = {"train": f"{tmp_path}/annotations/instances_train2017.json"}
    data = load_data(
        Dataset.model_validate({"source": split, "validation": 0.25, "test": 0}), "object-detection", 0, verify=True
    )
    assert data.rows["train"] == 9


def test_a_folder_without_boxes_is_refused(tmp_path: Path) -> None:
    write_boxes(tmp_path, 4).unlink()
    with pytest.raises(BadData, match=r"holds no file of boxes: COCO's json, or metadata.jsonl"):
        load(tmp_path)


def test_the_file_of_boxes_is_found_by_its_content(tmp_path: Path) -> None:
    write_coco(tmp_path, 16).rename(tmp_path / "boxes.json")
    (tmp_path / "notes.json").write_text(json.dumps({"images": [], "annotations": []}))
    (tmp_path / "broken.json").write_text("{")
    assert load(tmp_path).rows["train"] == 8
    (tmp_path / "more.json").write_text((tmp_path / "boxes.json").read_text())
    with pytest.raises(BadData, match=r"holds boxes.json, broken.json, more.json, notes.json; name the file of the bo"):
        load(tmp_path)
    (tmp_path / "instances.json").write_text((tmp_path / "boxes.json").read_text())
    assert load(tmp_path).rows["train"] == 8


def _link(inside: Path, outside: Path, name: str) -> None:
    """Move a file or folder out, and put a link to it in its place."""
    (inside / name).rename(outside / Path(name).name)
    (inside / name).symlink_to(outside / Path(name).name)


@pytest.mark.parametrize(
    ("write", "linked"),
    [
        (lambda root: write_coco(root, 16), "coco.json"),
        (lambda root: _hub(root, 16), "metadata.jsonl"),
        (_standard, "annotations"),
        (_standard, "annotations/instances_val2017.json"),
        (lambda root: _splits(root, _hub), "valid"),
        (lambda root: _splits(root, write_coco), "valid/coco.json"),
    ],
    ids=["coco", "metadata", "annotations", "file in annotations", "split", "file in a split"],
)
def test_links_out_of_the_data_roots_are_not_read(
    write: Callable[[Path], None], linked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    write(inside)
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", str(inside))
    assert load(inside, test=0).rows["train"] > 0
    _link(inside, outside, linked)
    with pytest.raises(BadData, match=f"^{inside / linked} lies outside the folders data may be read from"):
        load(inside, test=0)


def test_names_of_classes_are_read_inside_the_data_roots_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    file = write_boxes(inside, 16)
    file.write_text(file.read_text().replace('"joy"', "1").replace('"anger"', "0"))
    (tmp_path / "id2label.json").write_text('["secret", "other"]')
    assert load(file).targets.label_names == ["secret", "other"]
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", str(inside))
    assert load(file).targets.label_names == ["0", "1"]  # a folder above that may not be read is as if it had none
    (inside / "id2label.json").symlink_to(tmp_path / "id2label.json")
    with pytest.raises(BadData, match=f"^{inside}/id2label.json lies outside the folders"):
        load(file)


def test_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    file = write_boxes(tmp_path, 16)
    lines = [json.loads(line) | {"objects": {"bbox": [], "category": []}} for line in file.read_text().splitlines()]
    file.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(BadData, match="no image to train on has an object, so there is nothing to learn; add boxes"):
        load(file)


def test_what_is_remarkable_is_told(tmp_path: Path) -> None:
    file = _table(tmp_path, {"bbox": [[1, 1, 9, 9], [1, 1, 9, 9], [3, 3, 1, 1]], "category": ["joy"] * 3})
    data = load(file)
    codes = ("images-without-objects", "doubled-boxes", "tiny-boxes", "objects-per-image", "rare-classes")
    found = {finding.code: finding for finding in about(data, *codes)}
    assert set(found) == set(codes)
    assert [found[code].count for code in codes[:3]] == [2, 1, 1]
    assert "16 images" in found["objects-per-image"].message


def test_a_box_in_shares_among_pixels_is_refused_by_its_row(tmp_path: Path) -> None:
    for cell in (_one([0.1, 0.2, 0.5, 0.4]), {"bbox": [[1, 2, 8, 8], [0, 0, 1, 0.5]], "category": ["joy", "joy"]}):
        file = _table(tmp_path, cell)
        number = len(cell["bbox"])
        said = rf"boxes are shares of the sides among others in pixels: row 3 \(line 3\): box {number} is \[0"
        with pytest.raises(BadData, match=said) as refused:
            load(file)
        assert "multiply x and width by the image's width" in str(refused.value)
        dataset = Dataset(source=str(file), validation=0.25, test=0.25)
        load_data(dataset, "object-detection", 0, semantics=3)
    load(_table(tmp_path, _one([0, 0, 1, 1])))  # a single pixel


CORNERS = {"bbox": [[1, 2, 30, 40]], "category": ["joy"]}


def _all_alike(folder: Path, objects: Any, rows: int = 16) -> Path:
    """Write images that all have the same objects."""
    file = write_boxes(folder, rows)
    lines = [json.loads(line) | {"objects": objects} for line in file.read_text().splitlines()]
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


@pytest.mark.parametrize("key", ["bbox", "boxes"])
def test_boxes_that_may_be_corners_are_told_until_the_spec_says_what_they_are(key: str, tmp_path: Path) -> None:
    file = _all_alike(tmp_path, {key: [[1, 2, 30, 40]], "labels": ["joy"]})
    (finding,) = about(load(file), "boxes-in-two-forms")
    assert finding.severity == "warning"
    assert finding.message.startswith("All 16 boxes, as [1, 2, 30, 40], lie in their images both as [x, y, width")
    for form, box in {"xywh": (1, 2, 30, 40), "xyxy": (1, 2, 29, 38)}.items():
        data = load(file, box_format=form)
        assert not about(data, "boxes-in-two-forms")
        assert {box[1:5] for row in _rows(data) for box in row.boxes} == {box}


def test_one_box_that_can_be_no_corners_settles_the_form(tmp_path: Path) -> None:
    file = _all_alike(tmp_path, CORNERS)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[0]["objects"] = _one([20, 2, 8, 8])
    file.write_text("\n".join(map(json.dumps, lines)))
    assert not about(load(file), "boxes-in-two-forms")
    with pytest.raises(BadData, match=r"row 1 \(line 1\): box 1 is \[20, 2, 8, 8\]. Of corners right is above left"):
        load(file, box_format="xyxy")


def test_boxes_of_coco_have_its_form(tmp_path: Path) -> None:
    about_images = coco(tmp_path, 16)
    for annotation in about_images["annotations"]:
        annotation["bbox"] = [1, 2, 30, 30]
    (tmp_path / "coco.json").write_text(json.dumps(about_images))
    assert not about(load(tmp_path / "coco.json"), "boxes-in-two-forms")


def test_corners_outside_of_their_image_are_shown_as_they_are_written(tmp_path: Path) -> None:
    said = r"box 1 is \[1, 2, 30, 70\], and the image has .*A box is \[left, upper, right, lower\] \(dataset.box_format"
    with pytest.raises(BadData, match=said):
        load(_all_alike(tmp_path, _one([1, 2, 30, 70])), box_format="xyxy")


def test_what_a_rounding_reaches_outside_is_cut_off(tmp_path: Path) -> None:
    (row,) = (r for r in _rows(load(_table(tmp_path, _one([-0.4, 2, 41, 8])))) if r.boxes and r.boxes[0].width == WIDTH)
    assert row.boxes[0][1:5] == (0.0, 2.0, 40.0, 8.0)


def test_crowds_are_not_learned(tmp_path: Path) -> None:
    data = load(_table(tmp_path, {**_one([1, 2, 8, 8]), "iscrowd": [1]}))
    assert isinstance(data.targets, BoxTargets)
    assert sum(box.crowd for row in _rows(data) for box in row.boxes) == 1


def test_categories_that_are_written_in_two_ways_are_told(tmp_path: Path) -> None:
    assert not about(load(write_boxes(tmp_path, 16)), "near-equal-labels")
    (finding,) = about(load(_table(tmp_path, _one([1, 2, 8, 8], "JOY"))), "near-equal-labels")
    assert finding.message.startswith(
        "Some labels are nearly equal and are taken as different classes (objects): 'JOY' (1)"
    )


def test_images_that_exif_turns_without_another_size_are_told(tmp_path: Path) -> None:
    file = write_boxes(tmp_path, 16)
    assert not about(load(file), "turned-images")
    exif = Image.Exif()
    for i in range(16):
        exif[0x0112] = i % 4 + 1  # as it is, mirrored, on its head, both
        Image.open(tmp_path / f"{i}.png").save(tmp_path / f"{i}.png", exif=exif)
    found = load(file)
    (finding,) = about(found, "turned-images")
    stems = {path.stem for path in found.splits["train"].columns["image"]}
    assert {Path(example).stem for example in finding.examples} == {stem for stem in stems if int(stem) % 4}
    assert "Their boxes are taken as those of the upright image" in finding.message
