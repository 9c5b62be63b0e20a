"""Targets: what a task learns, made of the data and saved with the model.

`load_data` reads them with the class that the task's code names; the tasks, the jobs and the model cache ask them for
names, strata and counts. A row's target is opaque to everything else: a class id, a list of them, or
whatever the subclass makes of it.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from luthier.studies.dataset import Dataset
from luthier.studies.findings import Finding
from luthier.studies.strategy import Answering
from luthier.trials.data.tabular import Table


class Targets(ABC):
    """What a task learns: read from the data, checked, and remembered beside the model.

    It holds what is the same for all rows (the classes' names, say), and no row. Rows' targets are values that `json`
    can write, so that they are part of the data's fingerprint.

    Attributes:
        roles: The task's roles that hold targets. The other roles are the model's inputs, and so is one of these that
            the task reads in another way than as "target".
        exclusive: An input has one right target: others beside it are mistakes.
        readers: How an input is read -> the function (table, column) that returns its values, checked, or raises
            BadData; beside those of `data.columns`, for inputs that only this task has.
    """

    roles: ClassVar[tuple[str, ...]] = ("label",)
    exclusive: ClassVar[bool] = True
    readers: ClassVar[Mapping[str, Callable[[Table, str], list[Any]]]] = {}

    @classmethod
    @abstractmethod
    def read(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str], inputs: Mapping[str, Mapping[str, list[Any]]]
    ) -> tuple[Self, dict[str, list[Any]]]:
        """Read and check the targets of every row.

        Args:
            tables: Split name -> its table, one or more rows each; "train" is there.
            columns: Role -> column, which each table has, for those of `roles` that the data has.
            inputs: Split name -> role -> the values of the model's inputs, checked.

        Returns:
            The targets, and split name -> each row's target.

        Raises:
            BadData: A target is missing or unusable; the sentence names file, row and cure.
        """

    @classmethod
    def alike(
        cls, tables: Mapping[str, Table], columns: Mapping[str, str]
    ) -> tuple[dict[str, Table], Sequence[Finding]]:
        """Return the tables with targets that people write in several ways written in one, and what was changed.

        Called before `read`, but for studies of semantics in which spellings are classes of their own.

        Args:
            tables: As in `read`.
            columns: As in `read`.

        Raises:
            BadData: A target is missing or has no certain meaning; the sentence names file, row and cure.
        """
        return dict(tables), ()

    @classmethod
    def check_misread(cls, tables: Mapping[str, Table], columns: Mapping[str, str], inputs: Mapping[str, str]) -> None:
        """Check for values that can be read, and surely mean something else; not for studies of older semantics.

        Args:
            tables: As in `read`.
            columns: As in `read`.
            inputs: Role -> column, of what the model reads.

        Raises:
            BadData: There is one; the sentence names file, row and cure.
        """
        return

    @classmethod
    @abstractmethod
    def restore(cls, about: Mapping[str, Any]) -> Self:
        """Return the targets of a packed model from its luthier.json.

        Raises:
            KeyError: It lacks an entry.
            TypeError: An entry is of another type.
            ValueError: An entry has an impossible value.
        """

    def respelled(self, today: Self) -> Self:
        """Return what a packed model has learned, written as today's targets are where they are spelled otherwise."""
        return self

    def in_data(self) -> Self:
        """Return the same targets as data has them, where a packed model answers in other units than it learned in."""
        return self

    def blanks(self, columns: Mapping[str, Sequence[Any]], rows: int) -> list[Any]:
        """Return what stands for the unknown target of each row that is only to be predicted; no answer depends on it.

        Args:
            columns: Role -> the values of the rows' inputs, checked.
            rows: Their number.

        Raises:
            BadData: An input cannot be opened.
        """
        raise NotImplementedError

    def as_asked(self, dataset: Dataset, answering: Answering | None) -> Self:
        """Return the targets with what a spec says of how models answer: a language, how answers are picked."""
        return self

    @property
    @abstractmethod
    def about(self) -> dict[str, Any]:
        """The entries of luthier.json from which `restore` makes the same targets again."""

    @property
    @abstractmethod
    def identity(self) -> Hashable:
        """A value that `json` can write. Two data sets with the same one can share a loaded model's head."""

    @property
    def label_names(self) -> list[str]:
        """Class id -> label; empty where nothing is classified."""
        return []

    @property
    def unmeasured(self) -> Mapping[str, str]:
        """Metric that the data cannot measure -> why, and the cure: the end of a sentence."""
        return {}

    def counts(self, splits: Iterable[Sequence[Any]]) -> dict[str, int]:
        """Return label -> how often it occurs in the rows of some splits; empty where nothing is classified."""
        return {}

    def as_text(self, target: Any) -> str:
        """Return a row's target as people read it."""
        return json.dumps(target)

    def strata(self, rows: Sequence[Any]) -> list[Hashable] | None:
        """Return the stratum of each row, by which splits are drawn alike; None: all rows are alike."""
        return None

    def findings(self, splits: Mapping[str, Sequence[Any]], declared: bool) -> Sequence[Finding]:
        """Return what is remarkable about the targets. Called once for a study, at its inspection.

        Args:
            splits: Split name -> its rows' targets, in the order train, validation, test.
            declared: The training table declares what its target column means (the names of its classes).
        """
        return ()

    def trained_on(self, rows: Sequence[Any]) -> Self:
        """Return the targets with what they take from the rows that are left to train on once splits are drawn.

        Args:
            rows: The training rows' targets, which `check_training` has passed.
        """
        return self

    def input_findings(self, columns: Mapping[str, Sequence[Any]], rows: Sequence[Any]) -> Sequence[Finding]:
        """Return what is remarkable about inputs and targets together. Called as `findings` is.

        Args:
            columns: Role -> the values of the training rows' inputs.
            rows: Their targets.
        """
        return ()

    def check_training(self, rows: Sequence[Any], table: Table) -> None:
        """Check the targets that are left to train on once splits are drawn.

        Args:
            rows: The training rows' targets.
            table: Where training rows come from, for the message.

        Raises:
            BadData: Nothing can be learned from them.
        """
        return


@dataclass(frozen=True)
class NamedTargets(Targets):
    """Targets whose classes have names; what a class is of (a row, a word, a pixel) the subclass knows.

    Attributes:
        names: Class id -> label.
    """

    names: tuple[str, ...]

    @classmethod
    def restore(cls, about: Mapping[str, Any]) -> Self:
        """Return the classes of a packed model."""
        return cls(tuple(str(name) for name in about["label_names"]))

    @property
    def about(self) -> dict[str, Any]:
        """The labels by class id."""
        return {"label_names": self.label_names}

    @property
    def identity(self) -> tuple[str, ...]:
        """The labels by class id."""
        return self.names

    @property
    def label_names(self) -> list[str]:
        """Class id -> label."""
        return list(self.names)
