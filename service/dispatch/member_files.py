"""The weights of the winner's other repetitions beside its own, for the evaluation that may average them.

`payload.py` places them when an evaluation is handed out, `outcomes.py` removes them when it has ended. They are links
in the folder of the winner's weights, as the baseline's are; those that a crash leaves are orphans.
"""

from sqlalchemy.orm import Session

from luthier.service.errors import NotFound
from luthier.service.lifecycle import winner
from luthier.service.storage.file_store import FileStore
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.averages import MEMBERS, MemberWeights


def place(session: Session, store: FileStore, study: StudyRow, source: AssignmentRow) -> list[MemberWeights]:
    """Link the weights of a winner's other repetitions into the folder of its own, and return them, best first.

    Args:
        session: the transaction that grants the lease.
        store: the files.
        study: the study whose winner is measured.
        source: the assignment that has the winner's weights.
    """
    placed: list[MemberWeights] = []
    for row in winner.others_to_average(session, study, source):
        name = _name(len(placed))
        assert row.best is not None
        try:
            store.link(store.place(study.id, row.id, row.best.name), store.place(study.id, source.id, name))
        except NotFound:
            continue
        weights = row.best.model_copy(update={"name": name})
        placed.append(MemberWeights(repetition=row.number, seed=row.seed, value=row.value, weights=weights))
    return placed


def remove(store: FileStore, study_id: int, source_id: int) -> None:
    """Remove the links from the folder of an assignment whose weights were measured, if they are there."""
    for number in range(MEMBERS):
        store.remove(store.place(study_id, source_id, _name(number)))


def _name(number: int) -> str:
    return f"member-{number}.safetensors"
