"""Bundles as files: the same bytes for the same content, and a sentence for every archive that is none."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.studies import bundles
from luthier.studies.bundles import MANIFEST, MODEL, SPEC, STUDY, TRIALS, BundleError, read_bundle, write_bundle
from tests.support.archives_of_data import zipped

FILES = {STUDY: b'{"name": "one"}\n', SPEC: b"name: one\n", TRIALS: b'{"number": 0}\n{"number": 1}\n'}
ABOUT: dict[str, Any] = {"format": 1, "luthier": "0.1.0"}


def written(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    write_bundle(out, ((name, [content[:5], content[5:]]) for name, content in files.items()), "0.1.0")
    return out.getvalue()


def entries(files: dict[str, bytes]) -> dict[str, Any]:
    return {n: {"sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for n, c in files.items()}


def forged(files: dict[str, bytes] = FILES, said: dict[str, Any] | None = None, **about: Any) -> bytes:
    """Return a zip of files as somebody else could pack it, with a manifest that fits, or says something else."""
    manifest = ABOUT | {"files": entries(files) if said is None else said} | about
    return zipped({**files, MANIFEST: json.dumps(manifest).encode()})


def test_a_bundle_is_read_as_it_was_written_and_has_the_same_bytes_again(tmp_path: Path) -> None:
    file = tmp_path / "study.zip"
    file.write_bytes(written(FILES | {MODEL: b"weights" * 1000}))
    assert read_bundle(file) == FILES
    assert written(FILES | {MODEL: b"weights" * 1000}) == file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read(MANIFEST))["files"] == entries(FILES | {MODEL: b"weights" * 1000})


def changed(change: Callable[[bytes], bytes]) -> bytes:
    return change(written(FILES))


def with_method(method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in {**FILES, MANIFEST: json.dumps(ABOUT | {"files": entries(FILES)}).encode()}.items():
            archive.writestr(name, content, method if name == TRIALS else zipfile.ZIP_DEFLATED)
    return out.getvalue()


def with_a_name_twice() -> bytes:
    out = io.BytesIO(written(FILES))
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(out, "a") as archive:
        archive.writestr(STUDY, b"{}")
    return out.getvalue()


def without(name: str) -> bytes:
    files = {key: content for key, content in FILES.items() if key != name}
    return zipped({**files, MANIFEST: json.dumps(ABOUT | {"files": entries(FILES)}).encode()})


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "no zip": (lambda: b"name: one\n", "it is not a zip"),
    "empty": (lambda: b"", "it is not a zip"),
    "cut off": (lambda: changed(lambda content: content[:-40]), "cannot be read"),
    "a byte changed": (lambda: changed(lambda content: content.replace(b"PK\3\4", b"PK\3\5", 1)), "cannot be read"),
    "climbs out": (lambda: forged(FILES | {"../../etc/cron.d/x": b"x"}), "which a bundle does not have"),
    "absolute": (lambda: forged(FILES | {"/etc/passwd": b"x"}), "which a bundle does not have"),
    "a folder": (lambda: forged(FILES | {"bundle/": b""}), "which a bundle does not have"),
    "another zip": (lambda: zipped({"data.csv": b"a,b\n"}), "which a bundle does not have"),
    "no manifest": (lambda: zipped(FILES), f"has no {MANIFEST}"),
    "manifest no json": (lambda: zipped({**FILES, MANIFEST: b"{"}), f"its {MANIFEST} is damaged"),
    "manifest a list": (lambda: zipped({**FILES, MANIFEST: b"[1]"}), f"its {MANIFEST} is damaged"),
    "manifest deep": (lambda: zipped({**FILES, MANIFEST: b"[" * 100_000}), f"its {MANIFEST} is damaged"),
    "bytes no number": (lambda: forged(said={STUDY: {"sha256": "0", "bytes": "9"}}), f"its {MANIFEST} is damaged"),
    "format a word": (lambda: forged(format="1"), f"its {MANIFEST} is damaged"),
    "newer": (lambda: forged(format=2, luthier="9.0"), r"newer Luthier \(9.0\): update Luthier"),
    "missing file": (lambda: without(TRIALS), f"incomplete: {TRIALS} is missing"),
    "file unsaid": (lambda: forged(said=entries({STUDY: FILES[STUDY]})), f"does not name {SPEC}"),
    "wrong hash": (lambda: forged(said=entries(FILES | {TRIALS: b"{}"})), f"{TRIALS} is not what {MANIFEST} says"),
    "larger than said": (
        lambda: forged(said=entries(FILES) | {TRIALS: entries(FILES)[TRIALS] | {"bytes": 3}}),
        f"{TRIALS} is not what {MANIFEST} says",
    ),
    "name twice": (with_a_name_twice, f"holds {STUDY} twice"),
    "lzma": (lambda: with_method(zipfile.ZIP_LZMA), "not packed as Luthier packs it"),
    "model deflated": (lambda: forged(FILES | {MODEL: b"\0" * 1000}), "not packed as Luthier packs it"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_bundle_is_refused_with_a_sentence(tmp_path: Path, case: str) -> None:
    make, words = BAD[case]
    file = tmp_path / "study.zip"
    file.write_bytes(make())
    with pytest.raises(BundleError, match=words) as refused:
        read_bundle(file)
    assert str(file) in str(refused.value)
    assert list(tmp_path.iterdir()) == [file]


def test_a_document_that_explodes_is_read_no_further_than_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "MOST_DOCUMENT_BYTES", 100_000)
    file = tmp_path / "study.zip"
    file.write_bytes(written(FILES | {TRIALS: b"\0" * 10_000_000}))
    assert file.stat().st_size < 20_000
    with pytest.raises(BundleError, match=f"unsafe: {TRIALS} has more than"):
        read_bundle(file)
