"""A mapping in a foreign document, whose keys a reader asks for one by one; what is wrong is noted by its path.

The readers of all tools use it. Nothing is dropped without a word: a value of a wrong kind, a word that is not known,
and at the end (`rest`) each key that nobody asked for stand in the draft's `left`. A key without a value is not there.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from luthier.studies.documents import Path
from luthier.studies.importers.draft import Draft, plain, short

T = TypeVar("T")
NO_EQUAL = "no equal here"
NOT_TAKEN = "is not taken, because of its scale or distribution"


def kind_of(value: Any) -> str:
    """Return what a value is, for people."""
    if isinstance(value, bool):
        return "true or false"
    kinds = ((Mapping, "a mapping"), (list, "a list"), (str, "a text"), (int | float, "a number"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


class Part:
    """A mapping in a document, with its path.

    Attributes:
        draft: What is read goes there.
        path: Of the mapping.
    """

    def __init__(
        self, draft: Draft, value: Mapping[Any, Any], path: Path = (), spelled: Callable[[str], str] = str
    ) -> None:
        """Take a mapping; `spelled` turns a key of the document into the one that is asked for."""
        self.draft, self.path = draft, path
        self._spelled = spelled
        self._given: dict[str, tuple[Any, Any]] = {}  # key as it is asked for -> the document's own, and its value
        self._asked: set[str] = set()
        for key, inner in value.items():
            if spelled(str(key)) in self._given:
                draft.leave((*path, key), "is given twice, in two spellings")
            else:
                self._given[spelled(str(key))] = key, inner

    def __contains__(self, key: str) -> bool:
        """Return whether a key has a value."""
        return key in self._given and self._given[key][1] is not None

    def __iter__(self) -> Iterator[str]:
        """Yield the keys."""
        return iter(self._given)

    def at(self, key: str) -> Path:
        """Return the path of a key, as the document spells it."""
        return (*self.path, self._given[key][0] if key in self._given else key)

    def raw(self, key: str) -> Any:
        """Return a value of any kind; None where there is none."""
        self._asked.add(key)
        return self._given[key][1] if key in self._given else None

    def text(self, key: str) -> str | None:
        """Return a text, or None."""
        return self._of(key, str, "a text")

    def mapping(self, key: str) -> "Part | None":
        """Return a mapping, or None."""
        value = self._of(key, dict, "a mapping")
        return None if value is None else self._inner(value, self.at(key))

    def parts(self, key: str) -> list["Part"]:
        """Return the mappings of a list; what is none of them is left out."""
        return self._parts(key, self._of(key, list, "a list") or [])

    def needed(self, key: str) -> "Part":
        """Return a mapping without which there is nothing to read. Raises ValueError."""
        value = self.raw(key)
        if not isinstance(value, Mapping):
            raise self._refusal(key, "a mapping", value)
        return self._inner(value, self.at(key))

    def needed_parts(self, key: str) -> list["Part"]:
        """Return the mappings of a list without which there is nothing to read. Raises ValueError."""
        value = self.raw(key)
        if not isinstance(value, list):
            raise self._refusal(key, "a list", value)
        return self._parts(key, value)

    def word(self, key: str, words: Mapping[str, T], what: str) -> T | None:
        """Return what a word stands for, or None.

        Args:
            key: Of the word.
            words: What each known one stands for.
            what: The noun of what another one would have to be, as `sampler`.
        """
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self._leave_wrong(key, "a text", value)
        elif value in words:
            return words[value]
        else:
            self.draft.leave(self.at(key), f"no {what} here is like {short(value)}")
        return None

    def put(self, into: Path, key: str) -> None:
        """Put a value into the spec: a text as the study's name, else a number or the text of one."""
        value = self.text(key) if into == ("name",) else plain(self.raw(key))
        self.draft.put(into, value, self.at(key))

    def rest(self, why: str = NO_EQUAL) -> None:
        """Note each key that was not asked for."""
        for key in self._given:
            if key not in self._asked:
                self.draft.leave(self.at(key), why)

    def _of(self, key: str, kind: type[T], name: str) -> T | None:
        value = self.raw(key)
        if value is not None and not isinstance(value, kind):
            self._leave_wrong(key, name, value)
            return None
        return value

    def _inner(self, value: Mapping[Any, Any], path: Path) -> "Part":
        return Part(self.draft, value, path, self._spelled)

    def _parts(self, key: str, values: list[Any]) -> list["Part"]:
        found = []
        for place, value in enumerate(values):
            if isinstance(value, Mapping):
                found.append(self._inner(value, (*self.at(key), place)))
            else:
                self.draft.leave((*self.at(key), place), f"must be a mapping, and is {kind_of(value)}")
        return found

    def _leave_wrong(self, key: str, name: str, value: Any) -> None:
        self.draft.leave(self.at(key), f"must be {name}, and is {kind_of(value)}")

    def _refusal(self, key: str, name: str, value: Any) -> ValueError:
        where = ".".join(map(str, self.at(key)))
        cure = "take the document from its tool anew, or mend it"
        return ValueError(f"{where} must be {name}, and is {kind_of(value)}; {cure}")
