"""Files that an assignment names."""

import hashlib
from pathlib import Path

from luthier.trials.files import file_ref


def test_a_reference_names_the_content_and_its_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content" * 100_000)
    ref = file_ref(path)
    assert (ref.name, ref.sha256, ref.bytes) == ("file", hashlib.sha256(path.read_bytes()).hexdigest(), 700_000)
