"""Bundles: a study as one zip of plain files, with a manifest of their checksums; written, and read without trust.

The service writes them, the client and the command line read them. Nothing in one is unpacked to the disk or executed:
the known documents are read into memory, within limits, and the model's archive is only checked. Names and the format's
number are stored by users: they must never change their meaning.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from luthier.studies.damage import damage
from luthier.studies.unpacked_folder import Bounded, DataArchiveError

FORMAT = 1
"""The newest form of a bundle that this version reads and writes."""
MANIFEST = "MANIFEST.json"
STUDY = "study.json"
SPEC = "spec.yaml"
TRIALS = "trials.jsonl"
REPETITIONS = "repetitions.jsonl"
ABOUT_WINNER = "luthier.json"
MODEL = "model.tar.gz"
REQUIRED = (STUDY, SPEC, TRIALS)
DOCUMENTS = (*REQUIRED, REPETITIONS, ABOUT_WINNER)
MOST_DOCUMENT_BYTES = 256 * 2**20  # 100,000 trials of ten evaluations each have 150 MB
MOST_MANIFEST_BYTES = 2**20
CHUNK_BYTES = 2**20
EARLIEST = (1980, 1, 1, 0, 0, 0)  # of every member, the earliest that a zip can tell
MODE = 0o100644 << 16  # a regular file that all may read
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, DataArchiveError)
AGAIN = "Export the study again (`luthier export NAME --bundle -o study.zip`)."


class BundleError(Exception):
    """The file is no bundle, or a damaged, an unsafe or a newer one; the message is a sentence with the cure."""


def write_bundle(file: IO[bytes], parts: Iterable[tuple[str, Iterable[bytes]]], written_by: str) -> None:
    """Write a bundle; the same parts give the same bytes.

    Args:
        file: open for writing, and for seeking.
        parts: the name and the pieces of each file, some of `DOCUMENTS` and `MODEL`; the manifest is added.
        written_by: the version of Luthier.

    Raises:
        OSError: the disk refuses the file.
    """
    files = {}
    with zipfile.ZipFile(file, "w") as archive:
        for name, pieces in parts:
            files[name] = _write(archive, name, pieces)
        about = {"format": FORMAT, "luthier": written_by, "files": files}
        _write(archive, MANIFEST, [json_bytes(about, indent=2)])


def _write(archive: zipfile.ZipFile, name: str, pieces: Iterable[bytes]) -> dict[str, Any]:
    """Write one member; return its checksum and its size as the manifest has them."""
    member = zipfile.ZipInfo(name, EARLIEST)
    member.compress_type = zipfile.ZIP_STORED if name == MODEL else zipfile.ZIP_DEFLATED
    member.create_system, member.external_attr = 3, MODE  # as on Unix, on every system
    digest, size = hashlib.sha256(), 0
    with archive.open(member, "w", force_zip64=True) as target:
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            target.write(piece)
    return {"sha256": digest.hexdigest(), "bytes": size}


def json_bytes(value: Any, indent: int | None = None) -> bytes:
    """Return a value as a line of JSON, or several with `indent`; numbers keep every digit."""
    return (json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_bundle(path: Path) -> dict[str, bytes]:
    """Return the documents of a bundle by name, after every file in it was compared with the manifest.

    Raises:
        BundleError: it is no bundle, was changed or cut off, holds more than a bundle may, or a newer version wrote it.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            raise BundleError(f"{path} is no bundle: it is not a zip. {AGAIN}")
        file.seek(0)
        try:
            with zipfile.ZipFile(Bounded(file)) as archive:
                return _read(path, archive)
        except _DAMAGE as error:
            raise BundleError(f"{path} cannot be read: {damage(error)}. {AGAIN}") from error


def _read(path: Path, archive: zipfile.ZipFile) -> dict[str, bytes]:
    members = _members(path, archive)
    files = _manifest(path, archive, members)
    if missing := [name for name in (*REQUIRED, *files) if name not in files or name not in members]:
        raise BundleError(f"{path} is incomplete: {missing[0]} is missing. {AGAIN}")
    documents = {}
    for name, said in files.items():
        pieces: list[bytes] = []
        keep = pieces.append if name in DOCUMENTS else None
        most = said["bytes"] if name == MODEL else min(said["bytes"], MOST_DOCUMENT_BYTES)
        sha256, size = _digest(_pieces(archive, members[name], most + 1), keep)
        if name != MODEL and size > MOST_DOCUMENT_BYTES:
            raise BundleError(f"{path} is unsafe: {name} has more than {MOST_DOCUMENT_BYTES // 2**20} MB.")
        if (sha256, size) != (said["sha256"], said["bytes"]):
            raise BundleError(f"{path} was changed or damaged: {name} is not what {MANIFEST} says. {AGAIN}")
        documents[name] = b"".join(pieces)
    return {name: content for name, content in documents.items() if name in DOCUMENTS}


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name: each name is one that a bundle may have, and comes once."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.orig_filename
        if name not in (MANIFEST, MODEL, *DOCUMENTS):
            raise BundleError(f"{path} is no bundle: it holds {name[:200]!r}, which a bundle does not have. {AGAIN}")
        if name in members:
            raise BundleError(f"{path} is unsafe: it holds {name} twice. {AGAIN}")
        if member.compress_type != zipfile.ZIP_STORED and (
            name == MODEL or member.compress_type != zipfile.ZIP_DEFLATED
        ):
            raise BundleError(f"{path} is unsafe: {name} is not packed as Luthier packs it. {AGAIN}")
        members[name] = member
    if MANIFEST not in members:
        raise BundleError(f"{path} is no bundle: it has no {MANIFEST}. {AGAIN}")
    return members


def _manifest(
    path: Path, archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]
) -> dict[str, dict[str, Any]]:
    """Return the checksum and the size of each file, as the manifest has them."""
    content = b"".join(_pieces(archive, members[MANIFEST], MOST_MANIFEST_BYTES + 1))
    wrong = BundleError(f"{path} cannot be read: its {MANIFEST} is damaged. {AGAIN}")
    if len(content) > MOST_MANIFEST_BYTES:
        raise wrong
    try:
        about = json.loads(content)
        number, files = about["format"], about["files"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise wrong from None
    if isinstance(number, int) and number > FORMAT:
        made = str(about.get("luthier"))[:40]
        raise BundleError(f"{path} was written by a newer Luthier ({made}): update Luthier to read it.")
    if number != FORMAT or not isinstance(files, dict) or not all(map(_is_entry, files.values())):
        raise wrong
    if unsaid := next((name for name in members if name not in files and name != MANIFEST), None):
        raise BundleError(f"{path} was changed: {MANIFEST} does not name {unsaid}. {AGAIN}")
    return files


def _is_entry(said: Any) -> bool:
    if not isinstance(said, dict):
        return False
    size = said.get("bytes")
    return isinstance(said.get("sha256"), str) and isinstance(size, int) and not isinstance(size, bool) and size >= 0


def _pieces(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most_bytes: int) -> Iterator[bytes]:
    """Yield the content of a member, and no more of it than so many bytes."""
    left = most_bytes
    with archive.open(member) as source:
        while left > 0 and (piece := source.read(min(left, CHUNK_BYTES))):
            left -= len(piece)
            yield piece


def _digest(pieces: Iterable[bytes], keep: Callable[[bytes], None] | None) -> tuple[str, int]:
    """Return the SHA-256 and the number of some bytes, and hand each piece on."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        if keep is not None:
            keep(piece)
    return digest.hexdigest(), size
