"""A first spec for uploaded data, with the task and columns that a person has chosen; a program of its own.

The page of a new study starts it with a `Wish` as JSON on stdin, and gets JSON: task, columns and the spec as YAML, or
the sentence why there is none.
"""

import json
import sys
from dataclasses import dataclass, field, replace

from luthier.studies.tasks import TASKS
from luthier.trials.data.column_kinds import Column
from luthier.trials.data.first_spec import Look, look, written
from luthier.trials.data.guesses import Guess, guess
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData


@dataclass(frozen=True)
class Wish:
    """What a first spec is written for, where somebody has said more than the source.

    Attributes:
        source: A file or folder.
        shown: The same, as the spec names it.
        title: What people call it.
        task: Its name; None for a guess.
        columns: Role -> column; {} for a guess.
        preset: As in a spec.
    """

    source: str
    shown: str
    title: str
    task: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    preset: str = "good"

    def look(self) -> Look:
        """Look at the source, with the task and columns that are wished for. Raises BadData."""
        seen = look(self.source, guess if self.task is None else self._chosen)
        if self.task is not None and seen.guess.task != self.task:
            seen = replace(seen, guess=Guess(self.task, self.columns))
        return replace(seen, source=self.shown, others={})

    def _chosen(self, table: Table) -> Guess:
        """Return the task and columns that are wished for; how several labels are written is told by the table."""
        assert self.task is not None
        label = self.columns.get("label", "")
        column = Column.of(table, label) if label in table.columns else None
        separator = column.separator if column is not None and TASKS[self.task].label_sets else None
        return Guess(self.task, self.columns, column, separator)


def main() -> None:
    """Print the spec for the wish on stdin, or the fault."""
    try:
        wish = Wish(**json.load(sys.stdin))
        seen = wish.look()
        spec = written(seen, wish.title, wish.preset)
        print(json.dumps({"task": seen.guess.task, "columns": seen.guess.columns, "spec": spec}))
    except BadData as fault:
        print(json.dumps({"fault": fault.message}))


if __name__ == "__main__":
    main()
