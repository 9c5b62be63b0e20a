"""A first look at the paths and columns that a spec names, before any worker starts; a program of its own.

`luthier run` and `luthier plan` start it where their workers will run, with the spec on its stdin. It prints the faults
as JSON, with the words of the inspection, which says all else. It imports no torch, and reads no large file.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from luthier.studies.dataset import SplitFiles
from luthier.studies.spec import StudySpec, parse_spec
from luthier.studies.uploads import PREFIX
from luthier.trials.data.located import LocalFile, locate
from luthier.trials.errors import BadData
from luthier.trials.model import hub
from luthier.trials.paths import local_path

MOST_BYTES = 32 << 20  # of all files together; larger ones take seconds to read, so they are left to the inspection
MOST_PACKED = 2 << 20
PACKED = (".gz", ".bz2", ".xz", ".parquet")


def look(spec: StudySpec) -> Iterator[BadData]:
    """Yield what is wrong with the paths of a spec, and else with the columns of its files."""
    source = spec.dataset.source
    texts = source.model_dump().items() if isinstance(source, SplitFiles) else [("", source)]
    named = [(text, ("dataset", "source", *([split] if split else []))) for split, text in texts if text is not None]
    is_good = True
    for model in spec.models:
        try:
            if local_path(model, "model") is None:
                hub.check_exists(model)
        except BadData as problem:
            yield problem
    files: list[Path] = []
    for text, path in named:
        if text.startswith(PREFIX):
            return  # the service knows the data sets that were uploaded to it
        try:
            located = locate(text, *path)
        except BadData as problem:
            is_good = False
            yield problem
            continue
        if not isinstance(located, LocalFile):
            return  # a folder or the hub: the inspection reads it
        files.append(located.file)
    if is_good and _are_small(files):
        from luthier.trials.data.given_tables import check_header  # with what reads files: half a second

        try:
            check_header(spec.dataset, spec.task)
        except BadData as problem:
            yield problem


def _are_small(files: list[Path]) -> bool:
    packed = any(file.suffix.lower() in PACKED for file in files)
    return sum(file.stat().st_size for file in files) <= (MOST_PACKED if packed else MOST_BYTES)


def main() -> None:
    """Print the faults of the spec on stdin, as a list of paths and messages."""
    spec = parse_spec(sys.stdin.read())
    print(json.dumps([{"path": ".".join(map(str, fault.path)), "message": fault.message} for fault in look(spec)]))


if __name__ == "__main__":
    main()
