"""Folders as people unpack them: which are splits, which classes, and what is passed over by name."""

import re
from pathlib import Path
from typing import Any

import pytest

from luthier.trials.data.folder_splits import find_splits
from luthier.trials.errors import BadData
from tests.support.findings import about
from tests.unit.trials.inputs.media_trees import counts, grow, load

FORMS = [
    ("Training", "Validation", "Testing"),
    ("TRAIN", "VAL", "TEST"),
    ("training_set", "valid_set", "test_set"),
    ("Train_Set", "Dev-Set", "Test Set"),
    ("train-images", "val-images", "test-images"),
    ("train2017", "val2017", "test2017"),
    ("trainset", "valset", "testset"),
    ("images_train", "images_val", "images_test"),
    ("TrainData", "ValidData", "TestData"),
    ("seg_train", "seg_dev", "seg_test"),
    ("train", "dev", "eval"),
    ("01_train", "02_validation", "03_test"),
]
SPLIT = {"cat": 6, "dog": 6}


@pytest.mark.parametrize(("train", "validation", "test"), FORMS)
def test_splits_are_known_in_any_case_and_form(train: str, validation: str, test: str, tmp_path: Path) -> None:
    grow(tmp_path, f"{train}/{{cat,dog}} 6", f"{validation}/{{cat,dog}} 2", f"{test}/{{cat,dog}} 3")
    found = counts(load(tmp_path))
    assert found == {"train": SPLIT, "validation": {"cat": 2, "dog": 2}, "test": {"cat": 3, "dog": 3}}


@pytest.mark.parametrize(
    ("name", "split"),
    [("Entraînement", None), ("trainers", None), ("contest", None), ("latest", None), ("device", None),
     ("valley", None), ("retrain_later", None), ("test_dev", None), ("TESTING", "test"), ("Evaluation", "validation"),
     ("trainval", "train"), ("train_val", "train"), ("my train data", "train"), ("tests", "test"),
     ("\uff34\uff32\uff21\uff29\uff2e", "train")],
)  # fmt: skip
def test_words_decide(name: str, split: str | None) -> None:
    assert find_splits([name]).get(name) == split


READ: list[tuple[str, list[str], dict[str, dict[str, int]], list[str]]] = [
    (
        "two splits, validation drawn",
        ["mri/Training/{glioma,notumor} 20", "mri/Testing/{glioma,notumor} 4"],
        {"train": {"glioma": 17, "notumor": 17}, "validation": {"glioma": 3, "notumor": 3},
         "test": {"glioma": 4, "notumor": 4}},
        [],
    ),
    (
        "a spare folder without classes",
        ["train/{cat,dog} 6", "val/{cat,dog} 2", "test/{cat,dog} 2", "predict 5"],
        {"train": SPLIT, "validation": {"cat": 2, "dog": 2}, "test": {"cat": 2, "dog": 2}},
        [r"passed over predict \(5 image files\)"],
    ),
    (
        "what systems and archives leave",
        ["train/{cat,dog} 6", "val/{cat,dog} 2", "test/{cat,dog} 2", "__MACOSX/train/{cat,dog} 6",
         ".ipynb_checkpoints/cat 3", "train/cat/.ipynb_checkpoints 2", "train/.ipynb_checkpoints 2",
         "train/@eaDir/cat 2",
         "train/cat/._1.jpg = fork", "train/cat/Thumbs.db = x", "train/dog/.DS_Store = x", "train/desktop.ini = x"],
        {"train": SPLIT, "validation": {"cat": 2, "dog": 2}, "test": {"cat": 2, "dog": 2}},
        [],
    ),
    (
        "a nested copy beside the splits",
        ["train/{cat,dog} 6", "val/{cat,dog} 2", "test/{cat,dog} 2", "xray/{train,val,test}/{cat,dog} 2"],
        {"train": SPLIT, "validation": {"cat": 2, "dog": 2}, "test": {"cat": 2, "dog": 2}},
        [r"passed over xray \(12 image files\)"],
    ),
    (
        "splits that hold themselves",
        ["seg_train/seg_train/{cat,dog} 6", "seg_val/seg_val/{cat,dog} 2", "seg_test/seg_test/{cat,dog} 2",
         "seg_pred/seg_pred 4"],
        {"train": SPLIT, "validation": {"cat": 2, "dog": 2}, "test": {"cat": 2, "dog": 2}},
        [r"passed over seg_pred \(4 image files\)"],
    ),
    (
        "folders around all",
        ["archive/data/train/{cat,dog} 6", "archive/data/val/{cat,dog} 2", "archive/data/test/{cat,dog} 2"],
        {"train": SPLIT, "validation": {"cat": 2, "dog": 2}, "test": {"cat": 2, "dog": 2}},
        [],
    ),
    (
        "a folder around classes",
        ["pets/{cat,dog} 20"],
        {"train": {"cat": 14, "dog": 14}, "validation": {"cat": 3, "dog": 3}, "test": {"cat": 3, "dog": 3}},
        [],
    ),
    (
        "classes with a copy of themselves",
        ["{cat,dog} 20", "pets/{cat,dog} 20"],
        {"train": {"cat": 14, "dog": 14}, "validation": {"cat": 3, "dog": 3}, "test": {"cat": 3, "dog": 3}},
        [r"passed over pets \(40 files, a copy\)"],
    ),
    (
        "classes that are called like a split",
        ["{train,bus,car} 20"],
        {"train": {"bus": 14, "car": 14, "train": 14}, "validation": {"bus": 3, "car": 3, "train": 3},
         "test": {"bus": 3, "car": 3, "train": 3}},
        [],
    ),
    (
        "a container in each class",
        ["train/{n01,n02}/images 6", "val/{n01,n02}/images 2", "test/{n01,n02}/images 2"],
        {"train": {"n01": 6, "n02": 6}, "validation": {"n01": 2, "n02": 2}, "test": {"n01": 2, "n02": 2}},
        [],
    ),
    (
        "folders within classes",
        ["cat 10", "cat/{old,new} 5", "dog/{barking,asleep} 10"],
        {"train": {"cat": 14, "dog": 14}, "validation": {"cat": 3, "dog": 3}, "test": {"cat": 3, "dog": 3}},
        [],
    ),
    (
        "a class that test lacks, and names beyond ASCII",
        ["train/{été,dog} 6", "val/{été,dog} 2", "test/été 2"],
        {"train": {"dog": 6, "été": 6}, "validation": {"dog": 2, "été": 2}, "test": {"été": 2}},
        [],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("branches", "wanted", "notes"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_what_is_read(branches: list[str], wanted: Any, notes: list[str], tmp_path: Path) -> None:
    data = load(grow(tmp_path, *branches))
    assert counts(data) == wanted
    found = about(data, "folders-passed-over", "files-passed-over")
    assert len(found) == len(notes)
    for finding, said in zip(found, notes, strict=True):
        assert re.search(said, finding.message)


REFUSED: list[tuple[str, list[str], str]] = [
    (
        "parts of the data",
        ["berlin/{cat,dog} 6", "paris/{cat,dog} 6"],
        r"berlin, paris hold the same folders \(cat, dog\).*dataset\.source as {train: .*/berlin, test: .*/paris}",
    ),
    (
        "parts of the data, not all complete",
        ["a/{cat,dog,bird} 6", "b/{cat,dog} 6", "c/{dog,bird} 6"],
        r"a, b, c hold the same folders \(bird, cat, dog\)",
    ),
    ("splits inside classes", ["{cat,dog}/{train,test} 6"], r"cat, dog hold the splits test, train\. Put"),
    (
        "splits without classes",
        ["train 6", "test 3"],
        r"train holds 6 image files and no folder for each class, so their labels are unknown",
    ),
    (
        "a validation folder without classes",
        ["train/{cat,dog} 6", "val 8"],
        r"val holds 8 image files and no folder for each class.*write dataset\.source as {train: .*/train}\.",
    ),
    (
        "images and labels of detection",
        ["images/{train,val} 6", "labels/train/1.txt = 0 1 1 1 1"],
        "no folder for each",
    ),
    (
        "train and something else",
        ["train/{cat,dog} 6", "holdout/{cat,dog} 6"],
        r"train stands beside holdout, which may be a split or something else\. Write dataset\.source as {train: ",
    ),
    (
        "no train",
        ["pictures/{cat,dog} 6", "Test/{cat,dog} 2"],
        r"Test looks like a split, and no folder is called train",
    ),
    (
        "two for one split",
        ["train/{cat,dog} 6", "val/{cat,dog} 2", "valid/{cat,dog} 2"],
        r"val, valid may all be the split validation\. Write dataset\.source as",
    ),
    ("an empty split", ["train/{cat,dog} 6", "test"], "test holds no image files; fill it, or remove it"),
    ("an empty class", ["train/{cat,dog} 6", "test/cat 2", "test/dog"], r"test/dog holds no image file \("),
    (
        "a class that training lacks",
        ["train/{cat,dog} 6", "test/{cat,bird} 2"],
        "'bird' of test does not occur in train",
    ),
    (
        "a table beside a folder of files",
        ["images 12", "labels.csv = file,label"],
        r"holds one folder, images, which is no set of classes\. If labels\.csv lists the files and their labels, "
        r"write dataset\.source as .*/labels\.csv, and the columns as dataset\.columns: {image: \.\.\., label: \.\.\.}",
    ),
    (
        "a table among the files",
        [". 12", "metadata.csv = file_name,label"],
        r"holds no folders; put the image files of .* If metadata\.csv lists the files and their labels, write dataset",
    ),
    (
        "a table beside splits without classes",
        ["train 12", "test 6", "train.csv = id,label"],
        r"train holds 12 image files and no folder for each class.* If train\.csv lists the files and their labels",
    ),
    ("folds of files", ["audio/{fold1,fold2} 6", "metadata/a.csv = f,c"], r"fold1, fold2, which are parts of the data"),
    (
        "folds of classes",
        ["{fold1,fold2}/{cat,dog} 6"],
        r"hold the same folders \(cat, dog\).*write dataset\.source as",
    ),
    ("images and masks", ["{images,masks} 6"], r"masks seem to be masks or boxes of the others and no class"),
    ("images and masks in classes", ["{cat,dog}/{images,masks} 6"], r"move the folders masks away\."),
    (
        "a table in a folder beside",
        ["audio 12", "meta/esc50.csv = filename,category"],
        r"meta holds no image file.* If meta/esc50\.csv lists the files and their labels, write dataset\.source as",
    ),
    ("archives", ["a.zip = x", "b.zip = x"], r"holds no folders, but 2 files \(2 \.zip\); unpack them"),
    ("sounds", ["{cat,dog}/1.wav = x"], r"these are sounds, for the task audio-classification"),
    ("films", ["{cat,dog}/1.mp4 = x"], r"take frames out of them: ffmpeg -i x\.mp4"),
    ("more files beside the folders", ["{cat,dog} 3", ". 9"], r"9 image files that lie in no class's folder"),
]


@pytest.mark.parametrize(("branches", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_refused(branches: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=said) as refused:
        load(grow(tmp_path, *branches))
    assert refused.value.path[:2] == ["dataset", "source"]


def test_the_spec_settles_a_doubt(tmp_path: Path) -> None:
    grow(tmp_path, "train/{cat,dog} 6", "holdout/{cat,dog} 6", "val/{cat,dog} 2", "valid/{cat,dog} 3")
    found = counts(load(tmp_path, test="holdout", validation="valid"))
    assert found == {"train": SPLIT, "validation": {"cat": 3, "dog": 3}, "test": SPLIT}
    files = {"train": tmp_path / "train", "validation": tmp_path / "val", "test": tmp_path / "holdout"}
    assert counts(load(files)) == {"train": SPLIT, "validation": {"cat": 2, "dog": 2}, "test": SPLIT}
    with pytest.raises(
        BadData, match=r"no folder for the split 'none'; dataset\.source has holdout, train, val, valid"
    ):
        load(tmp_path, test="none")


def test_links_to_folders(tmp_path: Path) -> None:
    """Splits and classes may be links; a link within a class is passed over by name, one that leads back always."""
    grow(tmp_path / "elsewhere", "{train,val,test}/{cat,dog} 6", "more 3")
    root = tmp_path / "pets"
    root.mkdir()
    for split in ("train", "val", "test"):
        (root / split).symlink_to(tmp_path / "elsewhere" / split)
    (tmp_path / "elsewhere" / "train" / "cat" / "back").symlink_to(root)
    (tmp_path / "elsewhere" / "train" / "cat" / "more").symlink_to(tmp_path / "elsewhere" / "more")
    data = load(root)
    assert counts(data) == dict.fromkeys(("train", "validation", "test"), SPLIT)
    assert any("cat/more" in finding.message for finding in about(data, "folders-passed-over"))


def test_files_that_are_called_like_masks_of_others_are_named(tmp_path: Path) -> None:
    grow(tmp_path, "{cat,dog} 6")
    for file in list(tmp_path.rglob("*.jpg"))[:3]:
        file.with_name(f"{file.stem}_mask.jpg").write_bytes(file.read_bytes())
    (found,) = about(load(tmp_path), "files-like-masks")
    assert (found.count, found.severity) == (3, "warning")
    assert "_mask.jpg" in found.message
