"""Archives of data: what is good comes out as it is, and nothing comes out of what is not."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from luthier.studies import data_archives, unpacked_folder
from luthier.studies.data_archives import unpack_data
from luthier.studies.unpacked_folder import DataArchiveError, DataTooLarge
from luthier.studies.uploads import kind_of_upload, parse_reference
from tests.support.archives_of_data import tarred, zipped

FILES = {"train/a b.csv": b"text\n1\n", "train/\u00e9 \U0001f600.txt": b"x" * 5000, "test/empty": b""}
LIMIT = 10**9


def unpacked(folder: Path, content: bytes, kind: str = "zip", limit: int = LIMIT) -> dict[str, bytes]:
    """Unpack, and return path -> content of all files that came out; nothing may lie beside them."""
    inside = folder / "inside"
    inside.mkdir()
    (inside / "packed").write_bytes(content)
    try:
        unpack_data(inside / "packed", kind, inside / "files", limit)
    finally:
        assert {path.name for path in folder.iterdir()} == {"inside"}
        assert {path.name for path in inside.iterdir()} <= {"packed", "files"}
        assert not [path for path in inside.rglob("*") if path.is_symlink()]
    found = (inside / "files").rglob("*")
    return {path.relative_to(inside / "files").as_posix(): path.read_bytes() for path in found if path.is_file()}


@pytest.mark.parametrize(
    ("kind", "content"),
    [("zip", zipped(FILES)), *((f"tar{c and '.'}{c}", tarred(FILES, f"w:{c}")) for c in ("", "gz", "bz2", "xz"))],
    ids=["zip", "tar", "gz", "bz2", "xz"],
)
def test_files_come_out_as_they_are(tmp_path: Path, kind: str, content: bytes) -> None:
    assert unpacked(tmp_path, content, kind) == FILES


def test_what_systems_add_is_left_out_and_a_wrapper_is_taken_off(tmp_path: Path) -> None:
    files = {f"pets/{name}": content for name, content in FILES.items()}
    files |= {"__MACOSX/pets/._a.csv": b"1", "pets/.DS_Store": b"2", "pets/train/Thumbs.db": b"3"}
    assert unpacked(tmp_path, zipped(files)) == FILES


def test_a_wrapper_whose_name_means_something_stays(tmp_path: Path) -> None:
    for number, files in enumerate(({"train/cat/1.png": b"1"}, {"cat/1.png": b"1"}, {"data/train.csv": b"1"})):
        (tmp_path / str(number)).mkdir()
        assert unpacked(tmp_path / str(number), zipped(files)) == files


def test_an_archive_in_an_archive_stays_a_file(tmp_path: Path) -> None:
    inner = zipped(FILES)
    assert unpacked(tmp_path, zipped({"a/more.zip": inner, "a/b/c.csv": b"1"})) == {"more.zip": inner, "b/c.csv": b"1"}


LINK = stat.S_IFLNK | 0o777
HOSTILE = {
    "above": (zipped({"../x.csv": b"1"}), "zip", r"'\.\./x\.csv' lies outside"),
    "above deep": (zipped({"a/b/../../../x.csv": b"1"}), "zip", "lies outside"),
    "absolute": (zipped({"/tmp/x.csv": b"1"}), "zip", "lies outside"),
    "drive": (zipped({"C:/x.csv": b"1"}), "zip", "lies outside"),
    "backslash": (zipped({"a\\..\\x.csv": b"1"}), "zip", r"has a \\ in its name"),
    "zip link": (zipped({"l": b"/etc/passwd"}, l=LINK), "zip", "'l' is a link"),
    "link": (tarred({"a.csv": b"1"}, l=tarfile.SYMTYPE), "tar.gz", "'l' is a link"),
    "hard link": (tarred({"a.csv": b"1"}, l=tarfile.LNKTYPE), "tar.gz", "'l' is a link"),
    "device": (tarred({"a.csv": b"1"}, d=tarfile.CHRTYPE), "tar.gz", "a device"),
    "pipe": (tarred({"a.csv": b"1"}, d=tarfile.FIFOTYPE), "tar.gz", "a device"),
    "tar above": (tarred({"../../x": b"1"}), "tar.gz", "lies outside"),
    "capitals": (zipped({"a/X.png": b"1", "A/x.png": b"2"}), "zip", "one name on some disks"),
    "accents": (zipped({"\u00e9.png": b"1", "e\u0301.png": b"2"}), "zip", "one name on some disks"),
    "file and folder": (tarred({"a": b"1", "a/b": b"2"}), "tar.gz", "as a file and as a folder"),
    "twice": (tarred({"a": b"1"}, "w:")[:1024] + tarred({"a": b"2"}, "w:"), "tar", "twice"),
    "line end": (zipped({"a\nb.csv": b"1"}), "zip", "not readable text"),
    "long": (zipped({"x" * 300: b"1"}), "zip", "too long"),
    "deep": (zipped({"d/" * 20 + "x": b"1"}), "zip", "folders deep"),
    "nothing": (zipped({}), "zip", "holds no files"),
    "no zip": (b"text,label\n", "zip", "it is no zip, or its end is missing. Pack it anew"),
    "no tar": (b"text,label\n" * 100, "tar", "cannot be unpacked"),
    "cut zip": (zipped(FILES)[:-30], "zip", "cannot be unpacked"),
    "cut tar": (tarred({"a": bytes(range(256)) * 999})[:600], "tar.gz", "cannot be unpacked"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_unsafe_or_damaged_is_told(tmp_path: Path, name: str) -> None:
    content, kind, told = HOSTILE[name]
    with pytest.raises(DataArchiveError, match=told):
        unpacked(tmp_path, content, kind)


def test_a_file_that_was_changed_inside_is_told(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.csv", b"text,label")
    with pytest.raises(DataArchiveError, match=r"the file 'a\.csv' in it is damaged"):
        unpacked(tmp_path, out.getvalue().replace(b"text,label", b"tXxt,label"))


def test_bombs_are_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = b"0" * 3 * 2**20
    monkeypatch.setattr(data_archives, "SMALL_BYTES", 2**20)
    monkeypatch.setattr(unpacked_folder, "CHUNK_BYTES", 2**16)
    bombs = {
        "zip": zipped({"a.csv": zeros}),
        "tar.gz": tarred({"a.csv": zeros}),
        "tar.xz": tarred({"._a": zeros, "a.csv": b"1"}, "w:xz"),
    }
    for kind, content in bombs.items():
        (tmp_path / kind).mkdir()
        with pytest.raises(DataTooLarge, match="100 times its size"):
            unpacked(tmp_path / kind, content, kind)
        assert sum(path.stat().st_size for path in (tmp_path / kind).rglob("files/*")) <= 2**20 + 2**17


def test_the_limits_of_bytes_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, limit in (("a", 100_000), ("b", 6_000)):
        (tmp_path / name).mkdir()
        if name == "b":
            with pytest.raises(DataTooLarge, match=r"more than 6,000 bytes.*LUTHIER_DATASET_MAX_BYTES"):
                unpacked(tmp_path / name, tarred(FILES | {"more": b"x" * 2000}), "tar.gz", limit)
        else:
            assert unpacked(tmp_path / name, tarred(FILES), "tar.gz", limit) == FILES
    monkeypatch.setattr(unpacked_folder, "MAX_FILES", 2)
    (tmp_path / "c").mkdir()
    with pytest.raises(DataTooLarge, match="more than 2 files"):
        unpacked(tmp_path / "c", zipped(FILES))


def test_a_list_of_files_that_would_fill_the_memory_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacked_folder, "MAX_READ_BYTES", 2**17)
    with pytest.raises(DataArchiveError, match="far too long"):
        unpacked(tmp_path, zipped({f"{i:0200}": b"" for i in range(800)}))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", "csv"),
        ("A.B.CSV.GZ", "csv.gz"),
        ("a.ndjson", "jsonl"),
        ("pets.tgz", "tar.gz"),
        ("x.tar.xz", "tar.xz"),
        ("x.zip", "zip"),
        ("x.gz", None),
        ("csv", None),
        ("x.xlsx", None),
        ("", None),
    ],
)
def test_kinds_are_known_by_names(name: str, kind: str | None) -> None:
    assert kind_of_upload(name) == kind


def test_references_are_read_strictly() -> None:
    id = "0123456789abcdef"
    assert parse_reference("data/x.csv") is None
    assert parse_reference(f"dataset:{id}") == (id, "")
    assert parse_reference(f"dataset:{id}/a/./b.csv") == (id, "a/b.csv")
    for wrong in (
        "dataset:",
        "dataset:X",
        f"dataset:{id[:-1]}",
        f"dataset:{id}/../x",
        f"dataset:{id}//etc",
        "dataset: a",
    ):
        with pytest.raises(ValueError, match="names no data set"):
            parse_reference(wrong)
