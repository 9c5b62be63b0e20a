"""Atomic writes, and checksums of files and streams."""

import hashlib
from pathlib import Path

import pytest

from luthier.studies.files import HashingWriter, atomic_path, sha256_file


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    with atomic_path(target) as part:
        part.write_bytes(b"weights")
        assert part.parent == tmp_path
        assert not target.exists()
    assert target.read_bytes() == b"weights"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_the_older_file_and_no_temporary_one(tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    target.write_bytes(b"older")
    with pytest.raises(ValueError, match="broken"), atomic_path(target) as part:
        part.write_bytes(b"half")
        raise ValueError("broken")
    assert target.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [target]


def test_the_temporary_name_may_be_chosen(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "resume", ".resume.part") as part:
        assert part == tmp_path / ".resume.part"
        part.touch()


def test_a_checksum_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content" * 100_000)
    assert sha256_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_stream_is_written_and_hashed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        writer = HashingWriter(file)
        assert writer.sha256 == hashlib.sha256(b"").hexdigest()
        for chunk in (b"first ", b"", b"second"):
            writer.write(chunk)
    assert path.read_bytes() == b"first second"
    assert writer.sha256 == sha256_file(path)
