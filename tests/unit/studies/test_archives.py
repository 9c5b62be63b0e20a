"""A model's archive: its files come out as they are, and nothing else does, on every Python there is."""

import errno
import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from luthier.studies import archives
from luthier.studies.archives import ArchiveError, unpack_archive

FILES = {"config.json": b'{"model_type": "bert"}', "weights/part.bin": bytes(range(256)) * 100, "empty": b""}


@pytest.fixture(params=["with", "without"], autouse=True)
def data_filter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has tarfile's extraction filters, or (as 3.11.2 of Debian 12) has none."""
    if request.param == "without":
        for name in ("data_filter", "tar_filter", "fully_trusted_filter", "FilterError"):
            monkeypatch.delattr(tarfile, name, raising=False)

        def extract(*_: object, **__: object) -> None:
            raise TypeError("extract got an unexpected keyword argument 'filter'")

        monkeypatch.setattr(tarfile.TarFile, "extract", extract)
        monkeypatch.setattr(tarfile.TarFile, "extractall", extract)


def archive(folder: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    path = folder / "model.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def regular(name: str, content: bytes = b"evil") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), content


def special(kind: bytes, name: str, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = link
    return member, b""


def test_files_and_folders_come_out(tmp_path: Path) -> None:
    packed = archive(tmp_path, special(tarfile.DIRTYPE, "hollow"), *(regular(n, c) for n, c in FILES.items()))
    unpack_archive(packed, tmp_path / "model")
    content = {p.relative_to(tmp_path / "model").as_posix(): p for p in (tmp_path / "model").rglob("*")}
    assert {name: path.read_bytes() for name, path in content.items() if path.is_file()} == FILES
    assert {name for name, path in content.items() if path.is_dir()} == {"hollow", "weights"}


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (regular("../evil"), "'../evil' lies outside"),
        (regular("a/../../evil"), "outside"),
        (regular("/tmp/luthier-evil"), "outside"),
        (regular("..\\evil"), "outside"),
        (special(tarfile.DIRTYPE, "../evil"), "outside"),
        (special(tarfile.SYMTYPE, "link", ".."), "'link' is not a regular file"),
        (special(tarfile.SYMTYPE, "link", "config.json"), "not a regular file"),
        (special(tarfile.LNKTYPE, "link", "../../evil"), "not a regular file"),
        (special(tarfile.LNKTYPE, "link", "config.json"), "not a regular file"),
        (special(tarfile.FIFOTYPE, "pipe"), "not a regular file"),
        (special(tarfile.CHRTYPE, "device"), "not a regular file"),
        (special(tarfile.BLKTYPE, "device"), "not a regular file"),
        (regular("config.json"), "cannot be unpacked"),
        (regular("config.json/inside"), "cannot be unpacked"),
    ],
)
def test_what_no_model_holds_is_refused(tmp_path: Path, member: tuple[tarfile.TarInfo, bytes], said: str) -> None:
    packed = archive(tmp_path, regular("config.json", b"{}"), member, regular("link/evil"))
    with pytest.raises(ArchiveError, match=said) as refused:
        unpack_archive(packed, tmp_path / "model")
    assert "\n" not in str(refused.value)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["config.json", "model", "model.tar.gz"]
    assert (tmp_path / "model" / "config.json").read_bytes() == b"{}"
    assert not Path("/tmp/luthier-evil").exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "empty"])
def test_a_damaged_archive_is_refused(tmp_path: Path, damage: str) -> None:
    packed = archive(tmp_path, *(regular(name, content) for name, content in FILES.items()))
    content = bytearray(packed.read_bytes())
    half = len(content) // 2
    content[half] ^= 0xFF
    packed.write_bytes({"cut": content[:half], "flipped": content, "text": b"<html>", "empty": b""}[damage])
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        unpack_archive(packed, tmp_path / "model")


def test_errors_of_the_disk_are_not_blamed_on_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = archive(tmp_path, regular("config.json", b"{}"))
    (tmp_path / "model").mkdir()
    with pytest.raises(FileExistsError):
        unpack_archive(packed, tmp_path / "model")
    with pytest.raises(FileNotFoundError):
        unpack_archive(tmp_path / "absent", tmp_path / "other")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("luthier.studies.archives.copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        unpack_archive(packed, tmp_path / "third")


def test_more_than_a_model_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small archive fills neither the disk nor the memory: it ends at the first byte beyond its limits."""
    monkeypatch.setattr(archives, "SMALL_BYTES", 2**20)
    monkeypatch.setattr(archives, "MAX_MEMBERS", 50)
    bomb = archive(tmp_path, regular("config.json", b"{}"), regular("zeros", bytes(2**26)))
    assert bomb.stat().st_size < 2**17
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        unpack_archive(bomb, tmp_path / "bomb")
    assert sum(path.stat().st_size for path in (tmp_path / "bomb").iterdir()) < 2**23
    with pytest.raises(ArchiveError, match="more than 50 files"):
        unpack_archive(archive(tmp_path, *(regular(f"f{i}", b"") for i in range(51))), tmp_path / "many")
    with pytest.raises(ArchiveError, match="too deep"):
        unpack_archive(archive(tmp_path, regular("/".join("a" * 30))), tmp_path / "deep")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE])
def test_a_header_that_claims_to_be_huge_is_not_read(tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("huge")
    header.type, header.size = kind, 2**33
    path = tmp_path / "model.tar.gz"
    with gzip.open(path, "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(2**22))
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError):
            unpack_archive(path, tmp_path / "model")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
