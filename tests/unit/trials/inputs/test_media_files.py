"""Files in folders and tables of images: found by content, passed over by name, and all broken ones told at once."""

import io
import os
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from luthier.trials.errors import BadData
from tests.support.findings import about
from tests.unit.trials.inputs.media_trees import counts, grow, jpeg, load

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


def put(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def read(folder: Path) -> int:
    return sum(load(folder).rows.values())


@pytest.mark.parametrize("name", ["x.jfif", "x.JPG", "x.jpe", "x", "x.jpg?raw=true", "x.jpg.1", "x.image", "IMG 01"])
def test_a_jpeg_of_any_name_is_read(name: str, tmp_path: Path) -> None:
    grow(tmp_path, "{cat,dog} 10")
    put(tmp_path / "cat", name, jpeg(99))
    data = load(tmp_path)
    assert data.labels == {"cat": 11, "dog": 10}
    assert not data.findings


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000"])
def test_every_format_is_known_by_its_content(kind: str, tmp_path: Path) -> None:
    grow(tmp_path, "{cat,dog} 10")
    put(tmp_path / "cat", "file.dat", jpeg(99, kind))
    assert load(tmp_path, verify=True).labels == {"cat": 11, "dog": 10}


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("unreadable", ["refuse", "skip"])
def test_images_of_several_frames_are_told(kind: str, unreadable: str, tmp_path: Path) -> None:
    grow(tmp_path, "{cat,dog} 10")
    frames = [Image.new("RGB", (16, 12), colour) for colour in ("red", "green")]
    moving = io.BytesIO()
    frames[0].save(moving, kind, save_all=True, append_images=frames[1:])
    put(tmp_path / "cat", "moving.dat", moving.getvalue())
    put(tmp_path / "dog", "still.dat", jpeg(99, kind))
    (found,) = about(load(tmp_path, verify=True, unreadable=unreadable), "animated-images")
    assert (found.severity, found.count, found.examples) == ("note", 1, [f"{tmp_path}/cat/moving.dat"])
    assert "Models see the first alone" in found.cure


def test_a_preview_behind_a_photograph_is_no_frame(tmp_path: Path) -> None:
    grow(tmp_path, "{cat,dog} 10")
    photograph, preview = io.BytesIO(), Image.new("RGB", (8, 6))
    Image.new("RGB", (16, 12)).save(photograph, "MPO", save_all=True, append_images=[preview])
    put(tmp_path / "cat", "phone.jpg", photograph.getvalue())
    assert not about(load(tmp_path, verify=True), "animated-images")


def test_what_is_passed_over_is_counted_by_ending(tmp_path: Path) -> None:
    grow(tmp_path, "{cat,dog} 12")
    for i in range(5):
        put(tmp_path / "cat", f"{i}.HEIC", HEIC)
        put(tmp_path / "dog", f"{i}.xml", b"<annotation/>")
    put(tmp_path / "dog", "photo.nef", jpeg(1, "TIFF"))  # a raw photograph: what reads as TIFF is its thumbnail
    put(tmp_path / "dog", "README", b"P is for picture")
    put(tmp_path / "dog", "Thumbs.db", b"x")
    data = load(tmp_path)
    assert sum(data.rows.values()) == 24
    (found,) = about(data, "files-passed-over")
    assert found.message == (
        f"{tmp_path}: passed over by their endings 12 files (5 .heic, 5 .xml, 1 .nef, 1 no ending); "
        "24 image files are read."
    )
    assert (found.severity, found.count, found.examples[0]) == ("warning", 12, ".heic")
    assert "mogrify" in found.cure


def test_files_that_are_no_media_are_only_noted(tmp_path: Path) -> None:
    grow(tmp_path, "{cat,dog} 12")
    put(tmp_path / "dog", "licence.txt", b"free")
    (found,) = about(load(tmp_path), "files-passed-over")
    assert (found.severity, found.count, found.cure) == ("note", 1, "")


def test_more_passed_over_than_read_is_refused(tmp_path: Path) -> None:
    grow(tmp_path, "{cat,dog} 12")
    for i in range(101):
        put(tmp_path / ("cat", "dog")[i % 2], f"h{i}.heic", HEIC)
    with pytest.raises(BadData, match=r"24 image files can be read.*101 files \(101 \.heic\).*mogrify -format jpg"):
        load(tmp_path)
    for i in range(101):
        (tmp_path / ("cat", "dog")[i % 2] / f"h{i}.heic").rename(tmp_path / ("cat", "dog")[i % 2] / f"h{i}.txt")
    with pytest.raises(BadData, match=r"101 files \(101 \.txt\)"):
        load(tmp_path)


def test_a_class_of_unreadable_files_says_what_is_there(tmp_path: Path) -> None:
    grow(tmp_path, "{cat,dog} 12")
    for i in range(3):
        put(tmp_path / "bird", f"{i}.heic", HEIC)
    with pytest.raises(
        BadData, match=r"bird holds no image file \(.*\), but 3 files \(3 \.heic\); convert them with: mogrify"
    ):
        load(tmp_path)


def broken(folder: Path) -> None:
    """Break 20 of 60 images in all the ways there are, in every split."""
    grow(folder, "train/{cat,dog} 20", "test/{cat,dog} 10")
    files = sorted(folder.rglob("*.jpg"))
    for i, file in enumerate(files[::3]):
        content = file.read_bytes()
        kinds = (b"", b"<html>Not found</html>", content[:-7], content[: len(content) // 2])
        file.write_bytes(kinds[i % len(kinds)])


def test_all_broken_images_are_told_at_once(tmp_path: Path) -> None:
    broken(tmp_path)
    with pytest.raises(BadData) as refused:
        load(tmp_path, verify=True)
    text = refused.value.message
    assert text.startswith(f"{tmp_path}/train, {tmp_path}/test: 20 of 60 image files cannot be used: train, ")
    assert text.count(".jpg: ") == 10
    assert "; and 10 more. Repair or remove them, or leave them out with dataset.unreadable: skip." in text
    for reason in ("the file is empty", "is a web page", "image file is truncated"):
        assert reason in text
    assert refused.value.path == ["dataset", "source"]


def test_broken_images_are_left_out_if_the_spec_says_so(tmp_path: Path) -> None:
    broken(tmp_path)
    data = load(tmp_path, unreadable="skip")
    assert sum(data.rows.values()) == 40
    (found,) = about(data, "left-out")
    assert found.message.startswith("Left out (dataset.unreadable: skip): ")
    assert "20 of 60 image files cannot be used: " in found.message
    assert (found.severity, found.count) == ("note", 20)
    assert load(tmp_path, unreadable="skip", verify=True) == data
    for split in data.splits.values():
        assert all(file.stat().st_size for file in split.columns["image"])
    next(file for file in sorted(tmp_path.rglob("*.jpg")) if not file.stat().st_size).unlink()
    without = load(tmp_path, unreadable="skip")
    assert without.splits == data.splits
    assert without.fingerprint != data.fingerprint, "what was left out is part of the fingerprint"


def test_without_broken_images_skip_changes_nothing(tmp_path: Path) -> None:
    grow(tmp_path, "{cat,dog} 12")
    assert load(tmp_path, unreadable="skip") == load(tmp_path) == load(tmp_path, verify=True)


def test_more_broken_than_whole_is_refused_even_so(tmp_path: Path) -> None:
    grow(tmp_path, "{cat,dog} 12")
    for file in sorted(tmp_path.rglob("*.jpg"))[:13]:
        file.write_bytes(b"gone")
    with pytest.raises(BadData, match=r"13 of 24 image files cannot be used.*That is more than half"):
        load(tmp_path, unreadable="skip")


def test_a_jpeg_that_lacks_its_last_bytes(tmp_path: Path) -> None:
    grow(tmp_path, "{cat,dog} 12")
    last = sorted((tmp_path / "dog").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-7])
    with pytest.raises(BadData, match=rf"dog/{last.name}: .*truncated.*Or leave it out with dataset\.unreadable: skip"):
        load(tmp_path, verify=True)
    assert counts(load(tmp_path, unreadable="skip", validation=0.25, test=0)) == {
        "train": {"cat": 9, "dog": 8},
        "validation": {"cat": 3, "dog": 3},
    }


def test_a_table_that_names_missing_and_broken_files(tmp_path: Path) -> None:
    grow(tmp_path, "{cat,dog} 12")
    names = [f"{file.parent.name}/{file.name}" for file in sorted(tmp_path.rglob("*.jpg"))]
    (tmp_path / names[3]).unlink()
    (tmp_path / names[5]).write_bytes(jpeg(5)[:100])
    (tmp_path / "d.csv").write_text("image,label\n" + "".join(f"{name},{name[:3]}\n" for name in [*names, "no.jpg"]))
    with pytest.raises(BadData) as refused:
        load(tmp_path / "d.csv")
    assert "3 of 25 image files cannot be used" in refused.value.message
    assert ": row 4 (line 5): column 'image' names cat/" in refused.value.message
    assert "; row 6 (line 7): " in refused.value.message
    assert "; row 25 (line 26): column 'image' names no.jpg: it cannot be opened" in refused.value.message
    assert sum(load(tmp_path / "d.csv", unreadable="skip").rows.values()) == 22


def test_bytes_in_a_table_are_named_by_their_row(tmp_path: Path) -> None:
    values = [jpeg(i) for i in range(30)]
    values[7] = values[7][:-9]
    table = pyarrow.table({"image": values, "label": [i % 2 for i in range(30)]})
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    with pytest.raises(BadData, match=r"d\.parquet, row 8: cannot be read as an image"):
        load(tmp_path / "d.parquet", verify=True)
    assert sum(load(tmp_path / "d.parquet", unreadable="skip").rows.values()) == 29


def test_only_rows_that_are_sampled_are_tried(tmp_path: Path) -> None:
    """A quick study on a few of very many images does not decode them all."""
    grow(tmp_path, "{cat,dog} 40")
    used = {file for split in load(tmp_path, limit=12).splits.values() for file in split.columns["image"]}
    for file in tmp_path.rglob("*.jpg"):
        if file.resolve() not in used:
            file.write_bytes(b"broken")
    assert sum(load(tmp_path, limit=12, verify=True).rows.values()) == 12
    sorted(used)[0].write_bytes(b"broken")
    with pytest.raises(BadData, match="is no image that can be read"):
        load(tmp_path, limit=12, verify=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    grow(tmp_path, "{cat,dog} 12")
    sorted(tmp_path.rglob("*.jpg"))[0].chmod(0)
    with pytest.raises(BadData, match="cannot be read"):
        load(tmp_path)
