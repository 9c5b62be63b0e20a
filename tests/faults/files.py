"""The files of a round's store, beside the rows that name them."""

import hashlib
from collections.abc import Iterator
from typing import Any

from tests.faults.evidence import Evidence, parsed


def files_are_whole(evidence: Evidence) -> Iterator[str]:
    """Every file that a row names is what the row says, and after a sweep there is no other."""
    if evidence.store is None:
        return
    named = {(folder, ref["name"]): ref for folder, ref in named_files(evidence)}
    there = {(path.parent.name, path.name): path for path in evidence.store.glob("*/*")}
    for place, ref in named.items():
        if place not in there:
            yield f"{'/'.join(place)} is named by a row, and gone"
        elif "/".join(place) in evidence.cut_files:
            continue
        elif hashlib.sha256(there[place].read_bytes()).hexdigest() != ref["sha256"]:
            yield f"{'/'.join(place)} is not what its row says"
    for place in there.keys() - named.keys():
        # A database that lost its latest writes never gave out the ids of some folders: they stay (decision 0035).
        is_known = int(place[0].partition("-")[2]) <= max(row.id for row in evidence.assignments)
        if place[1] != "log.txt" and is_known:
            yield f"{'/'.join(place)} is named by no row"


def named_files(evidence: Evidence) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the folder and the reference of each file that a row names."""
    for row in evidence.assignments:
        for ref in (parsed(row.best), parsed(row.resume)):
            if ref is not None:
                yield f"{row.study_id}-{row.id}", ref
    for study in evidence.studies:
        model = parsed(study.model)
        if model is not None:
            yield f"{study.id}-{model['assignment']}", model
