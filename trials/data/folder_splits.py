"""Folders of a data set that are splits: found by name in any case and form, or a sentence on what is there.

A name is known by its words: `Training`, `test_set`, `train-images`, `val2017`, `seg_train` beside `seg_test`. Folders
beside the splits are passed over and named. Where names and content leave a doubt, nothing is guessed: the sentence
says what to write in the spec. `load_data` calls `choose_folders`.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from luthier.studies.findings import Finding, note, warning
from luthier.trials.data.media_tree import Tree, inner_tree, listed, scan, table_cure
from luthier.trials.errors import BadData

PASSED_OVER = "folders-passed-over"
"""Code of the finding on folders that are neither splits nor classes."""

_WORDS = {
    "train": "train training trn trainval",
    "validation": "validation validate validating val valid dev devel development eval evaluation evaluate",
    "test": "test testing tests tst",
}
_SPLIT_WORDS = {word: split for split, words in _WORDS.items() for word in words.split()}
_NOISE = (
    "(?:data)?sets?|data|images?|imgs?|pictures?|pics?|photos?|frames?|audios?|sounds?|wavs?|clips?|recordings?|files?|"
    "folder|dir|splits?|part|final|new|all|resized|cropped|raw|full|small|jpe?g|png|px|x|v|the|my"
)
_GLUED = re.compile(
    rf"(?:{_NOISE})?({'|'.join(sorted(_SPLIT_WORDS, key=len, reverse=True))})(?:{_NOISE})?|(?:{_NOISE})+"
)
_LATE = frozenset({"eval", "evaluation", "evaluate"})  # the test split of speech corpora, beside a split "dev"
_SPARE = re.compile("pred(ict(ion|ions|ed)?|s)?|submissions?|unlabell?ed|demo|samples?|examples?|extra|backup|old")


@dataclass(frozen=True)
class FolderSplits:
    """The folders of a data set's splits.

    Attributes:
        folders: train, validation, test -> the folder, relative to the source; empty where there are no splits.
        findings: What is passed over.
    """

    folders: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def choose_folders(
    folder: Path, name: str, role: str, named: Mapping[str, str], test: bool, *path: str
) -> FolderSplits:
    """Find the folders of the splits.

    Args:
        folder: The resolved folder of the source.
        name: The source as the user wrote it, for error messages.
        role: "image" or "audio".
        named: Split -> folder, as far as the spec names them.
        test: Whether a test split is wanted.
        path: The spec's path of the source, for error messages.

    Raises:
        BadData: The folders may be splits, but names and content leave a doubt, or a wanted split cannot be read.
    """
    tree, prefix = inner_tree(scan(folder, name, role, *path), is_split)
    children = {child: tree.folders[child] for child in tree.folders}
    splits = find_splits(list(children))
    flat = [child for child in splits if children[child].files and not children[child].filled]
    if not splits:
        return FolderSplits()
    if len(splits) == 1 and flat and not named:  # a class that is called train, beside bus and car
        return FolderSplits()
    layout = _Layout(f"{name}/{prefix}".rstrip("/"), role, path, tree, children, splits)
    chosen = layout.chosen({split: _inside(child, prefix) for split, child in named.items()}, test)
    spare = [child for child in children if child not in chosen.values() and children[child].count]
    rivals = [child for child in spare if child not in splits and not any(map(_SPARE.fullmatch, _words(child)))]
    if rivals and len(chosen) == 1:
        raise layout.doubt(f"train stands beside {listed(rivals)}, which may be a split or something else")
    layout.check_shapes(chosen)
    empty = [child for child in children if child not in chosen.values() and not children[child].count]
    found = layout.passed_over(spare, empty)
    joined = {split: f"{prefix}/{child}" if prefix else child for split, child in chosen.items()}
    return FolderSplits(joined, found)


@dataclass(frozen=True)
class _Layout:
    """The folders in which splits were found; arguments of `choose_folders`, all, name -> tree, name -> split."""

    name: str
    role: str
    path: tuple[str, ...]
    tree: Tree
    children: Mapping[str, Tree]
    splits: Mapping[str, str]

    def chosen(self, named: Mapping[str, str], test: bool) -> dict[str, str]:
        """Return split -> folder. Raises BadData for a folder that is missing, or two for one split."""
        for split, child in named.items():
            if child not in self.children:
                there = ", ".join(self.children)
                text = f"There is no folder for the split {child!r}; dataset.source has {there}."
                raise BadData(text, "dataset", split)
        chosen = dict(named)
        for split in _WORDS:
            if split in named or (split == "test" and not test):
                continue
            found = [c for c, s in self.splits.items() if s == split and c not in named.values()]
            found = [c for c in found if self.children[c].count] or found
            if len(found) > 1:
                raise self.doubt(f"{listed(found)} may all be the split {split}")
            if found:
                chosen[split] = found[0]
        if "train" not in chosen:
            seen = listed(list(self.splits) or list(named.values()))
            raise self.doubt(f"{seen} looks like a split, and no folder is called train")
        return chosen

    def check_shapes(self, chosen: Mapping[str, str]) -> None:
        """Raise BadData where a split has no folder for each class."""
        for split, child in chosen.items():
            tree = self.children[child]
            if not tree.count:
                text = f"{self.name}/{child} holds no {self.role} files; fill it, or remove it."
                raise BadData(text, *self.path)
            if tree.files and not tree.filled:
                text = (
                    f"{self.name}/{child} holds {len(tree.files):,} {self.role} files and no folder for each class, so "
                    "their labels are unknown. Put them into folders with the classes' names, or list files and "
                    "labels in a csv"
                )
                train = f"{self.name}/{chosen['train']}"
                other = f"; to do without them, write dataset.source as {{train: {train}}}" if split != "train" else ""
                raise BadData(f"{text}{other}.{table_cure(self.tree, self.name, self.role)}", *self.path)

    def passed_over(self, spare: list[str], empty: list[str]) -> tuple[Finding, ...]:
        """Return the finding on folders and files that are no part of a split; none where there are none.

        Args:
            spare: Folders that hold files of the role.
            empty: Folders that hold none.
        """
        parts = [f"{child} ({self.children[child].count:,} {self.role} files)" for child in spare]
        parts += [f"{child} (no {self.role} files)" for child in empty]
        parts += [f"{len(self.tree.files):,} {self.role} files beside the folders"] if self.tree.files else []
        text = f"{self.name}: passed over {listed(parts)}."
        count = sum(self.children[child].count for child in spare) + len(self.tree.files)
        if count:
            cure = "Move what belongs to the data into a split's folder; or name the folder in dataset.validation."
            return (warning(PASSED_OVER, text, cure, count, spare),)
        return (note(PASSED_OVER, text, 0, empty),) if empty else ()

    def doubt(self, problem: str) -> BadData:
        """Return the sentence for folders that may be read in more than one way."""
        lines = [f"{child} ({_content(tree)})" for child, tree in self.children.items() if tree.count]
        train = next((c for c, s in self.splits.items() if s == "train"), next(iter(self.children)))
        other = next((c for c, s in self.splits.items() if s != "train"), None)
        rest = f", test: {self.name}/{other}" if other else ""
        return BadData(
            f"{self.name} holds {listed(lines)}: {problem}. Write dataset.source as "
            f"{{train: {self.name}/{train}{rest}}} with the right folders, or list the files and labels in a csv.",
            *self.path,
        )


def _content(tree: Tree) -> str:
    filled = list(tree.filled)
    return f"with folders {listed(filled, 4)}" if filled else f"{len(tree.files):,} files"


def _inside(child: str, prefix: str) -> str:
    return child.removeprefix(f"{prefix}/") if prefix else child


def find_splits(names: list[str]) -> dict[str, str]:
    """Return name -> train, validation or test, for those among a folder's subfolders that are called like a split."""
    read = {name: _read(name) for name in names}
    known = {name: found for name, found in read.items() if found is not None}
    splits = {}
    for name, (split, rest) in known.items():
        # A word that is not known counts where a folder of another split has it, too: seg_train and seg_test.
        if not rest or any(other_rest == rest and other != split for other, other_rest in known.values()):
            splits[name] = split
    words = {name: set(_words(name)) for name in splits}
    late = [name for name in splits if words[name] & _LATE]
    early = [name for name, split in splits.items() if split == "validation" and name not in late]
    if early and "test" not in splits.values():
        splits.update(dict.fromkeys(late, "test"))
    return splits


def is_split(name: str) -> bool:
    """Return whether a folder of this name is a split wherever it stands."""
    return bool(find_splits([name]))


def _read(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the split that a name holds the word of, and its unknown words; None without, or with several splits."""
    found, rest = [], []
    for word in _words(name):
        match = _GLUED.fullmatch(word)
        if match is None:
            rest.append(word)
        elif match[1]:
            found.append(_SPLIT_WORDS[match[1]])
    if found == ["train", "validation"]:  # train_val: both, to learn from
        found = ["train"]
    return (found[0], tuple(rest)) if len(found) == 1 else None


def _words(name: str) -> list[str]:
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return re.findall(r"[^\W\d_]+", text.casefold())
