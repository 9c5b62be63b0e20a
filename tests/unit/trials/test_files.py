"""Atomic writes and checksums of a worker's files."""

import hashlib
from pathlib import Path

import pytest

from luthier.trials.files import atomic_path, file_ref, sha256_file


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
    ref = file_ref(path)
    assert (ref.name, ref.sha256, ref.bytes) == ("file", sha256_file(path), 700_000)
