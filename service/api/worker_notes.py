"""What the user of a fleet should know of a worker's versions: where they differ from the service's, or from others'.

`fleet_views.py` shows it. Nothing is refused for it: `studies/versions.py` says what is.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from luthier.studies.versions import LIBRARIES


def common_versions(workers: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the version of each library that most workers have; of several as common ones, the first by name."""
    counts: dict[str, Counter[str]] = {}
    for libraries in workers:
        for name, version in libraries.items():
            counts.setdefault(name, Counter())[version] += 1
    return {name: min(count, key=lambda v: (-count[v], v)) for name, count in counts.items()}


def notes(version: str, libraries: Mapping[str, str], own_version: str, common: Mapping[str, str]) -> list[str]:
    """Return sentences on a worker's versions; none where they are those of the service and of the other workers.

    Args:
        version: the worker's version of Luthier; "" where it did not say.
        libraries: its libraries, name -> version.
        own_version: the service's version of Luthier.
        common: the version of each library that most workers have.
    """
    told = []
    if version and version != own_version:
        told.append(
            f"It runs Luthier {version}, the service {own_version}: they understand each other, yet defaults may "
            f"differ; pip install luthier=={own_version} where it runs."
        )
    differing = [
        f"{name} {libraries[name]} (others have {common[name]})"
        for name in LIBRARIES
        if name in libraries and libraries[name] != common.get(name, libraries[name])
    ]
    if differing:
        told.append(
            f"Some of its libraries are not those of other workers: {', '.join(differing)}. The same trial may score a "
            "little differently on it."
        )
    return told
