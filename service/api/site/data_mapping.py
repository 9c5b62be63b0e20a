"""The beginning of a study for uploaded data: its task and columns, guessed or chosen, and the spec that they make.

`new.py` shows it above the editor. Columns to choose from are those of the data set's preview.
"""

from collections.abc import Mapping as Values
from dataclasses import dataclass

from luthier.service.api import datasets
from luthier.service.api.context import Service
from luthier.service.dispatch import first_specs
from luthier.service.dispatch.first_specs import FirstSpec
from luthier.service.errors import Invalid
from luthier.service.lifecycle import datasets as rows
from luthier.service.schemas import DatasetView
from luthier.studies.task import Task
from luthier.studies.tasks import TASKS

ROLE = "role."  # before a role, in the query


@dataclass(frozen=True)
class Mapping:
    """What is chosen for a data set.

    Attributes:
        dataset: the data set.
        task: that is chosen; None where none could be guessed.
        columns: role -> column.
        choices: the columns that there are; none of a folder of images or sounds.
        preset: that the spec names.
    """

    dataset: DatasetView
    task: Task | None
    columns: dict[str, str]
    choices: list[str]
    preset: str

    @property
    def roles(self) -> list[tuple[str, str, bool]]:
        """The roles of the task: name, the column chosen or "", whether the task needs it."""
        if self.task is None or not self.choices:
            return []
        either = {name for roles in self.task.alternatives for name in roles}
        roles = self.task.columns.items()
        return [(name, self.columns.get(name, ""), role.required and name not in either) for name, role in roles]


def begin(
    service: Service, id: str, task: str, query: Values[str, str], preset: str
) -> tuple[Mapping, str, Invalid | None]:
    """Return what is chosen for a data set, a spec for it, and what is wrong with the choice, if anything.

    Args:
        service: the running service.
        id: of the data set.
        task: that is chosen; "" for a guess.
        query: has `role.NAME` for each column that is chosen; without any they are guessed for the task.
        preset: that the spec names.

    Raises:
        NotFound: there is no such data set.
        Unavailable: it could not be looked at in time.
    """
    view = datasets.get(id, service)
    splits = datasets.preview(id, service).splits
    choices = [column.name for column in splits[0].columns] if splits else []
    asked = {key.removeprefix(ROLE): value for key, value in query.items() if key.startswith(ROLE) and value}
    columns = {role: column for role, column in asked.items() if task in TASKS and role in TASKS[task].columns}
    columns = columns or _by_name(task, choices)
    try:
        first = _written(service, view.id, task, columns, preset)
    except Invalid as problem:
        return Mapping(view, TASKS.get(task), columns, choices, preset), f"dataset:\n  source: {view.source}\n", problem
    known = TASKS[first.task]
    chosen = {role: first.columns.get(role, "") for role in known.columns} | columns
    if not first.columns and not columns:
        choices = []  # a folder: its parts are no columns of a table
    return Mapping(view, known, chosen, choices, preset), first.text, None


def _written(service: Service, id: str, task: str, columns: dict[str, str], preset: str) -> FirstSpec:
    with service.core.database.reading() as session:
        row = rows.find(session, id)
    return first_specs.first_spec(service.core, row, task or None, columns, preset)


def _by_name(task: str, choices: list[str]) -> dict[str, str]:
    """Return the columns of a task that the data has under the names that the task knows them by."""
    if task not in TASKS:
        return {}
    return {role: known.column for role, known in TASKS[task].columns.items() if known.column in choices}
