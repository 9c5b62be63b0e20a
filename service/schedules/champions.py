"""The models in use: a schedule's champion, those before it, and their files.

`steps.py` promotes and has models compared, `api/schedules.py` rolls back, `retention.py` removes old files. A
champion's file lies in the schedule's own folder of the store, and is whole before a row names it. The row that names
it and the column that makes it the champion are written in one transaction: wherever a service is killed, the champion
is the old one or the new one. Functions here never commit.
"""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.errors import Conflict, NotFound
from luthier.service.lifecycle import winner
from luthier.service.storage.file_store import FileStore, Place
from luthier.service.storage.schedule_tables import ChampionRow, RunRow, ScheduleRow
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.wire import FileRef

CHAMPION, CHALLENGER = "champion.tar.gz", "challenger.tar.gz"  # in the folder of a comparison


def current(session: Session, schedule: ScheduleRow) -> ChampionRow | None:
    """Return the schedule's champion, or None before its first one."""
    return None if schedule.champion_id is None else session.get(ChampionRow, schedule.champion_id)


def of_schedules(session: Session, schedules: Sequence[ScheduleRow]) -> dict[int, ChampionRow]:
    """Return id -> champion, of the models that these schedules have in use."""
    ids = [schedule.champion_id for schedule in schedules if schedule.champion_id is not None]
    return {champion.id: champion for champion in session.scalars(select(ChampionRow).where(ChampionRow.id.in_(ids)))}


def place(champion: ChampionRow) -> Place:
    """Return the place of a champion's packed model in the store."""
    return FileStore.champion_place(champion.schedule_id, champion.model.name)


def packed_model(study: StudyRow) -> FileRef:
    """Return the packed model of a study's winner; it lies in the winning assignment's folder. Raises NotFound."""
    if study.model is None:
        raise NotFound(f"{study.name} has no packed model.")
    return study.model.file


def comparison_files(session: Session, study: StudyRow, comparison: AssignmentRow) -> dict[str, FileRef]:
    """Return the two packed models that a comparison reads, under the names that they have in its folder.

    Args:
        session: Any session; the champion is read.
        study: The study whose winner is the challenger.
        comparison: The assignment.

    Returns:
        "champion" and "challenger" -> the file.
    """
    champion = session.get_one(ChampionRow, comparison.champion_id)
    return {
        "champion": champion.model.model_copy(update={"name": CHAMPION}),
        "challenger": packed_model(study).model_copy(update={"name": CHALLENGER}),
    }


def place_comparison_files(session: Session, store: FileStore, study: StudyRow, comparison: AssignmentRow) -> None:
    """Link both models into the comparison's folder, before the transaction that queues it is committed.

    Raises:
        NotFound: A file is gone.
    """
    champion = place(session.get_one(ChampionRow, comparison.champion_id))
    if not store.exists(champion):
        raise NotFound(f"The champion's file {champion.name} is not in the service's store any more.")
    store.link(champion, store.place(study.id, comparison.id, CHAMPION))
    store.link(_winner_place(session, study), store.place(study.id, comparison.id, CHALLENGER))


def remove_comparison_files(store: FileStore, study_id: int, comparison_id: int) -> None:
    """Remove both models from a comparison's folder; its log and its result stay."""
    for name in (CHAMPION, CHALLENGER):
        store.remove(store.place(study_id, comparison_id, name))


def keep_file(session: Session, store: FileStore, run: RunRow, study: StudyRow) -> FileRef:
    """Link the winner's packed model into the schedule's folder, where it outlives its study.

    A repeated call changes nothing.

    Returns:
        The new file.

    Raises:
        NotFound: The winner's file is gone.
    """
    ref = packed_model(study).model_copy(update={"name": f"run-{run.id}.tar.gz"})
    store.link(_winner_place(session, study), store.champion_place(run.schedule_id, ref.name))
    return ref


def _winner_place(session: Session, study: StudyRow) -> Place:
    return FileStore.place(study.id, winner.winning_assignment(session, study).id, packed_model(study).name)


def promote(session: Session, schedule: ScheduleRow, run: RunRow, study: StudyRow, model: FileRef, now: float) -> None:
    """Make a run's winner the champion. The schedule must be locked.

    Args:
        session: The caller's transaction.
        schedule: The schedule of the run.
        run: The run.
        study: Its study, which has a winner.
        model: The winner's packed model, as `keep_file` returned it.
        now: Seconds since the epoch, by the database's clock.
    """
    source = winner.winning_assignment(session, study)
    champion = ChampionRow(
        schedule_id=schedule.id,
        run_id=run.id,
        study=study.name,
        trial=study.winner,
        params=source.params,
        test=study.test or {},
        model=model,
        previous_id=schedule.champion_id,
        promoted_at=now,
    )
    session.add(champion)
    session.flush()
    schedule.champion_id = champion.id


def roll_back(session: Session, store: FileStore, schedule: ScheduleRow, now: float) -> ChampionRow:
    """Make the previous champion the champion again, and return it. The schedule must be locked.

    Args:
        session: The caller's transaction.
        store: The store of the models.
        schedule: The schedule.
        now: Seconds since the epoch, by the database's clock.

    Raises:
        Conflict: There is no previous champion, or its model was removed.
    """
    present = current(session, schedule)
    before = None if present is None or present.previous_id is None else session.get(ChampionRow, present.previous_id)
    if present is None or before is None:
        raise Conflict(f"{schedule.name} has no champion before the present one.")
    if not store.exists(place(before)):
        raise Conflict(f"The model of {schedule.name}'s champion before the present one is not kept any more.")
    present.withdrawn_at, schedule.champion_id = now, before.id
    return before


def by_run(session: Session, runs: list[int]) -> dict[int, ChampionRow]:
    """Return run id -> the champion that the run made, for those of the runs that made one."""
    champions = session.scalars(select(ChampionRow).where(ChampionRow.run_id.in_(runs)))
    return {champion.run_id: champion for champion in champions}
