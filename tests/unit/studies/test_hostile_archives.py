"""An archive of any members and any bytes unpacks inside its folder, within its limits, or is refused."""

import gzip
import io
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from luthier.studies.archives import ArchiveError, unpack_archive
from luthier.studies.data_archives import unpack_data
from luthier.studies.unpacked_folder import DataArchiveError
from tests.support.searched import searched

MOST_BYTES = 100_000
KINDS = ("zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "model")
LEADING_OUT = [
    "../evil",
    "a/../../evil",
    "/tmp/luthier-evil",
    "..\\evil",
    "C:\\evil",
    "//evil",
    "a/b/../../../evil",
    "..",
]
ODD = [
    "",
    ".",
    "./",
    "a",
    "a/b",
    "A",
    "é",
    "e\u0301",
    "a\0b",
    "a\nb",
    "x" * 255,
    "x" * 256,
    "é" * 200,
    "CON",
    "-rf",
    "a/.",
]
DEEP = ["é" * 200, "/".join(["d" * 250] * 16), "/".join("a" * 40), "/".join(["x" * 255] * 17)]
NAMES = st.sampled_from([*LEADING_OUT, *ODD, *DEEP, "train/a.csv", "config.json"]) | st.text(max_size=10)
TYPES = [tarfile.REGTYPE] * 6 + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
CONTENTS = st.binary(max_size=40) | st.sampled_from([bytes(10_000), bytes(300_000)])
MEMBERS = st.lists(st.tuples(NAMES, st.sampled_from(TYPES), CONTENTS), max_size=5)
MODES = {tarfile.SYMTYPE: stat.S_IFLNK, tarfile.FIFOTYPE: stat.S_IFIFO, tarfile.CHRTYPE: stat.S_IFCHR}
Member = tuple[str, bytes, bytes]


def packed(kind: str, members: list[Member]) -> bytes:
    """Return an archive with these members, whatever they are called."""
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, type, content in members:
                info = zipfile.ZipInfo("x")
                info.compress_type = zipfile.ZIP_DEFLATED
                info.filename = name + ("/" if type == tarfile.DIRTYPE else "")
                info.external_attr = (MODES.get(type, stat.S_IFREG) | 0o644) << 16
                archive.writestr(info, content)
        return out.getvalue()
    mode = {"tar": "w", "model": "w:gz"}.get(kind, f"w:{kind[4:]}")
    with tarfile.open(fileobj=out, mode=mode, errors="surrogatepass") as tar:  # type: ignore[call-overload]
        for name, type, content in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = type, "../../etc/passwd"
            entry.size = len(content) if type == tarfile.REGTYPE else 0
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def check(folder: Path, kind: str, content: bytes) -> None:
    """Unpack an archive into a new folder, and look at what is there then."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "archive").write_bytes(content)
    refused = None
    try:
        if kind == "model":
            unpack_archive(folder / "archive", folder / "target")
        else:
            unpack_data(folder / "archive", kind, folder / "target", MOST_BYTES)
    except (ArchiveError, DataArchiveError) as error:
        refused = str(error)
    assert refused is None or refused.endswith("."), refused
    assert refused is None or "\n" not in refused
    assert {path.name for path in folder.iterdir()} == {"archive", "target"}
    found = [path for path in (folder / "target").rglob("*") if not path.is_dir() or path.is_symlink()]
    assert all(path.is_file() and not path.is_symlink() for path in found)
    if kind != "model":
        assert sum(path.stat().st_size for path in found) <= MOST_BYTES + 2**20
    assert not Path("/tmp/luthier-evil").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", KINDS)
@searched(5, times=1000)
def test_any_members(kind: str, limits: hypothesis.settings, tmp_path: Path) -> None:
    @limits
    @hypothesis.given(MEMBERS)
    def search(members: list[Member]) -> None:
        try:
            content = packed(kind, members)
        except (ValueError, UnicodeError, OverflowError):  # a name that no archive can hold
            hypothesis.reject()
        check(tmp_path / "work", kind, content)

    search()


@pytest.mark.parametrize("name", [*LEADING_OUT, *ODD, *DEEP])
def test_each_odd_name(name: str, tmp_path: Path) -> None:
    for kind in ("zip", "tar", "model"):
        for type in (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE):
            try:
                content = packed(kind, [("first.csv", tarfile.REGTYPE, b"a,b\n"), (name, type, b"x")])
            except (ValueError, UnicodeError):
                continue
            check(tmp_path / "work", kind, content)


@pytest.mark.parametrize("kind", KINDS)
@searched(8, times=1000)
def test_damaged_bytes(kind: str, limits: hypothesis.settings, tmp_path: Path) -> None:
    whole = packed(
        kind, [("train/a.csv", tarfile.REGTYPE, b"a,b\n1,2\n"), ("train/b.csv", tarfile.REGTYPE, bytes(999))]
    )
    places = st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=6)

    @limits
    @hypothesis.given(places, st.integers(0, len(whole)) | st.just(len(whole)))
    def search(changes: list[tuple[int, int]], end: int) -> None:
        content = bytearray(whole)
        for at, value in changes:
            content[at] = value
        check(tmp_path / "work", kind, bytes(content[:end]))

    search()


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_bomb_ends_at_its_limit(kind: str, tmp_path: Path) -> None:
    bomb = packed(kind, [("a.csv", tarfile.REGTYPE, bytes(20 * 2**20))])
    assert len(bomb) < MOST_BYTES
    check(tmp_path / "work", kind, bomb)
    nested = packed("tar", [("a.csv.gz", tarfile.REGTYPE, gzip.compress(bytes(20 * 2**20)))])
    check(tmp_path / "work", "tar", nested)
