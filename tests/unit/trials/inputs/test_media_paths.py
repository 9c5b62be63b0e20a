"""Columns of paths to images as people write them: found, or with the place where the files are."""

import base64
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from luthier.trials.errors import BadData
from tests.unit.trials.inputs.media_trees import grow, jpeg, load

ROWS = 12


def listed(folder: Path, form: str, where: str = "list.csv") -> Path:
    """Write 12 images into a folder `images`, and a table that names them, and return the table."""
    grow(folder / "images", ". 12")
    (folder / where).parent.mkdir(exist_ok=True)
    lines = "".join(f"{form.format(i)},{('a', 'b')[i % 2]}\n" for i in range(1, ROWS + 1))
    (folder / where).write_text("image,label\n" + lines)
    return folder / where


@pytest.mark.parametrize("form", ["images/{}.jpg", r"images\{}.jpg", "./images/{}.jpg"])
def test_a_path_is_found(form: str, tmp_path: Path) -> None:
    data = load(listed(tmp_path, form))
    found = sorted(file.name for split in data.splits.values() for file in split.columns["image"])
    assert found == sorted(f"{i}.jpg" for i in range(1, ROWS + 1))


@pytest.mark.parametrize(
    ("form", "where", "place"),
    [
        ("{}.jpg", "list.csv", "images/1.jpg"),
        ("{}", "list.csv", "images/1.jpg"),
        ("{}.jpg", "meta/list.csv", "../images/1.jpg"),
        ("/content/drive/{}.jpg", "list.csv", "images/1.jpg"),
        (r"C:\Users\x\{}.jpg", "list.csv", "images/1.jpg"),
    ],
)
def test_where_the_files_are_is_said(form: str, where: str, place: str, tmp_path: Path) -> None:
    table = listed(tmp_path, form, where)
    with pytest.raises(BadData) as refused:
        load(table)
    said = f"Paths start from {table.parent}: what is called {form.format(1)} lies at {place}, so write it so."
    assert refused.value.message.endswith(said)
    assert "12 of 12 image files cannot be used" in refused.value.message


def test_what_lies_outside_of_the_data_roots_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = listed(tmp_path, "{}.jpg", "meta/list.csv")
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", str(tmp_path / "meta"))
    with pytest.raises(BadData) as refused:
        load(table)
    assert refused.value.message.endswith(f"Paths start from {tmp_path / 'meta'}.")


def test_some_missing_files_are_told_one_by_one(tmp_path: Path) -> None:
    table = listed(tmp_path, "images/{}.jpg")
    for i in (3, 5):
        (tmp_path / "images" / f"{i}.jpg").unlink()
    with pytest.raises(BadData, match=r"2 of 12 image files .*\. Repair or remove them, or leave them out"):
        load(table)


COLUMNS: dict[str, tuple[Any, str]] = {
    "base64": ([base64.b64encode(jpeg(i)).decode() for i in range(ROWS)], "holds files as base64"),
    "data URIs": (
        ["data:image/jpeg;base64," + base64.b64encode(jpeg(i)).decode() for i in range(ROWS)], "holds files as base64",
    ),
    "pixels as text": ([" ".join(map(str, range(i, i + 200))) for i in range(ROWS)], "holds pixels as numbers"),
    "pixels as lists": ([[[0, 1], [2, i]] for i in range(ROWS)], "holds a list where a path or"),
    "arrays": ([{"array": [0.0, 1.0], "sampling_rate": 8} for _ in range(ROWS)], "holds array, sampling_rate and no"),
    "names without bytes": ([{"bytes": None, "path": f"{i}.png"} for i in range(ROWS)], "Paths start from "),
}  # fmt: skip


@pytest.mark.parametrize("kind", COLUMNS)
def test_what_is_no_path_is_called_by_what_it_is(kind: str, tmp_path: Path) -> None:
    values, said = COLUMNS[kind]
    table = pyarrow.table({"image": values, "label": [i % 2 for i in range(ROWS)]})
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    with pytest.raises(BadData) as refused:
        load(tmp_path / "d.parquet")
    assert said in refused.value.message
    assert "Repair" not in refused.value.message
