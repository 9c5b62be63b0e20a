"""The models in use: a schedule's champion, those before it, and their files.

A champion's file lies in the schedule's own folder of the store, whole before a row names it; the row that names it and
the one that makes it the champion are one transaction. So whatever is killed, the champion is the old or the new one.
"""

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service.errors import Conflict, NotFound
from luthier.service.lifecycle import winner
from luthier.service.storage.file_store import FileStore
from luthier.service.storage.tables import AssignmentRow, ChampionRow, RunRow, ScheduleRow, StudyRow
from luthier.studies.protocol import FileRef

CHAMPION, CHALLENGER = "champion.tar.gz", "challenger.tar.gz"  # in the folder of a comparison


def current(session: Session, schedule: ScheduleRow) -> ChampionRow | None:
    return None if schedule.champion_id is None else session.get(ChampionRow, schedule.champion_id)


def file(store: FileStore, champion: ChampionRow) -> Path:
    """A champion's packed model."""
    return store.schedule_folder(champion.schedule_id) / champion.model.name


def packed(study: StudyRow) -> FileRef:
    """The packed model of a study's winner, in the folder of the winning assignment."""
    if study.model is None:
        raise NotFound(f"{study.name} has no packed model.")
    return study.model.file


def comparison_files(session: Session, study: StudyRow, comparison: AssignmentRow) -> dict[str, FileRef]:
    """The files that a comparison is given, as they are called in its folder."""
    champion = session.get_one(ChampionRow, comparison.champion_id)
    return {
        "champion": champion.model.model_copy(update={"name": CHAMPION}),
        "challenger": packed(study).model_copy(update={"name": CHALLENGER}),
    }


def place_comparison_files(session: Session, store: FileStore, study: StudyRow, comparison: AssignmentRow) -> None:
    """Put both models into the comparison's folder. Raises NotFound when one is gone."""
    folder = store.folder(study.id, comparison.id)
    champion = file(store, session.get_one(ChampionRow, comparison.champion_id))
    if not champion.is_file():
        raise NotFound(f"The champion's file {champion.name} is not in the service's store any more.")
    store.link(champion, folder / CHAMPION)
    store.link(_winner_file(session, store, study), folder / CHALLENGER)


def remove_comparison_files(store: FileStore, study_id: int, comparison_id: int) -> None:
    """Take both models out of a comparison's folder; what was found stays."""
    for name in (CHAMPION, CHALLENGER):
        (store.folder(study_id, comparison_id) / name).unlink(missing_ok=True)


def keep_file(session: Session, store: FileStore, run: RunRow, study: StudyRow) -> FileRef:
    """Give the winner's packed model a place of its own, apart from its study's. Repeating it changes nothing."""
    ref = packed(study).model_copy(update={"name": f"run-{run.id}.tar.gz"})
    store.link(_winner_file(session, store, study), store.schedule_folder(run.schedule_id) / ref.name)
    return ref


def _winner_file(session: Session, store: FileStore, study: StudyRow) -> Path:
    return store.path(study.id, winner.winning_assignment(session, study).id, packed(study))


def promote(session: Session, schedule: ScheduleRow, run: RunRow, study: StudyRow, model: FileRef, now: float) -> None:
    """Make a run's winner the champion of a locked schedule."""
    source = winner.winning_assignment(session, study)
    made = ChampionRow(
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
    session.add(made)
    session.flush()
    schedule.champion_id = made.id


def roll_back(session: Session, store: FileStore, schedule: ScheduleRow, now: float) -> ChampionRow:
    """Put the champion before the present one back in its place. Raises Conflict when there is none."""
    present = current(session, schedule)
    before = None if present is None or present.previous_id is None else session.get(ChampionRow, present.previous_id)
    if present is None or before is None:
        raise Conflict(f"{schedule.name} has no champion before the present one.")
    if not file(store, before).is_file():
        raise Conflict(f"The model of {schedule.name}'s champion before the present one is not kept any more.")
    present.withdrawn_at, schedule.champion_id = now, before.id
    return before


def by_run(session: Session, runs: list[int]) -> dict[int, ChampionRow]:
    """Run -> the champion it made."""
    found = session.scalars(select(ChampionRow).where(ChampionRow.run_id.in_(runs)))
    return {champion.run_id: champion for champion in found}
