"""The names of the files in a folder, or on the hub, that cannot be loaded as a model.

`foreign` tells from them what the folder is.
"""

import os
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from luthier.trials.model import hub

NO_WEIGHTS = ("training_args.bin", "optimizer*.*", "scheduler.*", "rng_state*", "random_states*", "scaler.*")
"""Files of a Trainer's checkpoint that look like weights."""


@dataclass(frozen=True)
class Contents:
    """The files of a folder that cannot be loaded as a model.

    Attributes:
        name: The model as the user wrote it.
        folder: On this worker.
        files: Names of its files and of those in its folders, two levels deep; those of the hub for a model of the hub.
        on_hub: Whether it comes from the hub.
    """

    name: str
    folder: Path
    files: list[str]
    on_hub: bool

    @classmethod
    def of(cls, name: str, folder: Path, on_hub: bool) -> "Contents":
        """List the files of a folder, or of a model on the hub."""
        files = (hub.files_of(name) if on_hub else []) or _names_in(folder)
        useless = (file for file in files if any(fnmatch(file.rpartition("/")[2], pattern) for pattern in NO_WEIGHTS))
        return cls(name, folder, sorted(set(files) - set(useless)), on_hub)

    def first(self, *patterns: str, nested: bool = False) -> str | None:
        """Return the first file of these patterns; `nested`: in folders too."""
        for pattern in patterns:
            for file in self.files:
                if fnmatch(file.rpartition("/")[2] if nested else file, pattern) and (nested or "/" not in file):
                    return file
        return None

    @property
    def place(self) -> str:
        """The folder for commands: for a model of the hub the one that `fetching` makes."""
        return self.name.rpartition("/")[2] if self.on_hub else self.name.rstrip("/")

    def fetching(self, revision: str | None = None) -> str:
        """Return the command that fetches a model of the hub with all its files; nothing for a folder."""
        if not self.on_hub:
            return ""
        at = f" --revision {revision}" if revision else ""
        return f"hf download {self.name}{at} --local-dir {self.place}"


def _names_in(folder: Path) -> list[str]:
    """Return the names of a folder's files and of those in its folders, two levels deep, as the hub writes them."""
    names = []
    for where, folders, files in os.walk(folder):
        inside = Path(where).relative_to(folder)
        if len(inside.parts) >= 2:
            folders.clear()
        names += [(inside / file).as_posix() for file in files]
    return names
