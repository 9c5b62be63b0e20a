"""Pruning: what has ended and nobody needs any more goes, at a user's wish, and the disk gets room.

The route calls it. Rows forget their files first, in one guarded transaction a study, and then the files go: a kill in
between leaves files that no row names, which `orphans.py` removes. A dry run finds the same by the same code, and
changes nothing. What schedules keep is their own (`schedules/retention.py`), and stays.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from luthier.service import caller
from luthier.service.dispatch import deletion, needs, uploads
from luthier.service.dispatch.core import Core
from luthier.service.dispatch.spent import spent
from luthier.service.errors import Conflict, NotFound
from luthier.service.lifecycle import datasets, study_rows
from luthier.service.schemas.usage import KeptView, Prunable, PrunedView, PruneView
from luthier.service.storage.service_tables import DatasetRow
from luthier.service.storage.store_sizes import FileSize, folder_sizes, freed_bytes
from luthier.service.storage.tables import StudyRow
from luthier.studies.protocol import ENDED
from luthier.studies.uploads import ARCHIVES

ROWS_NEEDED = (Prunable.WEIGHTS, Prunable.STUDIES)  # what stays where a study is needed with its weights


@dataclass(frozen=True)
class Wish:
    """What a user wants pruned.

    Attributes:
        kinds: what goes.
        older_than_seconds: only of studies that ended so long ago, and data sets that were uploaded so long ago.
        studies: only of these; None for all of the caller's project.
        keep_winners: the winners' weights stay, and whole studies that have a packed winner.
    """

    kinds: frozenset[Prunable]
    older_than_seconds: float = 0.0
    studies: Sequence[str] | None = None
    keep_winners: bool = True


def prune(core: Core, wish: Wish, dry_run: bool) -> PruneView:
    """Remove what a user wants removed and nobody needs, or say what that would be.

    Args:
        core: database, searches and store.
        wish: what goes.
        dry_run: change nothing.

    Raises:
        NotFound: one of the named studies is not there.
        OSError: the store cannot be read.
    """
    sizes = folder_sizes(core.store.root)
    with core.database.reading() as session:
        before = core.database.time(session) - wish.older_than_seconds
        names = _names(session, wish)
    pruning = _Pruning(core, wish, before, sizes, dry_run)
    for name in names:
        pruning.prune_study(name)
    if Prunable.DATASETS in wish.kinds and wish.studies is None:
        pruning.items += _prune_datasets(core, before, dry_run)
    items = sorted(pruning.items, key=lambda item: (-item.bytes, item.study or item.dataset or ""))
    return PruneView(dry_run=dry_run, bytes=sum(item.bytes for item in items), items=items, kept=pruning.kept)


def _names(session: Session, wish: Wish) -> list[str]:
    """Return the names of the studies that are looked at. Raises NotFound."""
    if wish.studies is not None:
        return [study_rows.find(session, name).name for name in dict.fromkeys(wish.studies)]
    rows = select(StudyRow.name).where(StudyRow.state.in_(ENDED), StudyRow.project == caller.current().project)
    return list(session.scalars(rows.where(~StudyRow.transient).order_by(StudyRow.id)))


class _Pruning:
    """One pruning: what has gone, and what stays."""

    def __init__(
        self, core: Core, wish: Wish, before: float, sizes: Mapping[str, list[FileSize]], dry_run: bool
    ) -> None:
        """Begin: `before` is when the latest study ended that is meant, `sizes` the files of each folder."""
        self.items: list[PrunedView] = []
        self.kept: list[KeptView] = []
        self._core, self._wish, self._before, self._dry_run = core, wish, before, dry_run
        self._sizes = sizes
        self._of_study: dict[str, list[FileSize]] = defaultdict(list)
        for folder, files in sizes.items():
            self._of_study[folder.partition("-")[0]] += files

    def prune_study(self, name: str) -> None:
        """Prune one study, in a transaction of its own."""
        database, wish = self._core.database, self._wish
        with database.reading() if self._dry_run else database.transaction() as session:
            try:
                study = study_rows.find(session, name) if self._dry_run else study_rows.lock(session, name)
            except NotFound:
                return  # somebody has deleted it just now
            kinds, reason = _allowed(session, study, wish, self._before)
            if reason is not None and wish.studies is not None:
                self.kept.append(KeptView(study=name, reason=f"{reason}."))
            goes_whole = Prunable.STUDIES in kinds and not (wish.keep_winners and study.model is not None)
            whole = frozenset({Prunable.STUDIES})
            parts = [
                spent(session, study, kind, wish.keep_winners, self._sizes)
                for kind in sorted(whole & kinds if goes_whole else kinds - whole)
            ]
            for part in [] if self._dry_run else parts:
                part.forget(self._core.leases, session)
        if goes_whole and not self._dry_run:
            deletion.delete_study(self._core, study)
        for part in parts:
            files = self._of_study[str(study.id)] if goes_whole else [file for _, file in part.files]
            if files or part.rows or goes_whole:
                size = freed_bytes(files)
                self.items.append(PrunedView(kind=part.kind, study=name, files=len(files), bytes=size))
            if not self._dry_run:
                part.remove_files(self._core.store)


def _allowed(session: Session, study: StudyRow, wish: Wish, before: float) -> tuple[frozenset[Prunable], str | None]:
    """Return what of a wish may be done with a study, and why not all of it, as a sentence without its period."""
    why = needs.need_of_all(session, study)
    if why is None and not study.is_readable and Prunable.STUDIES not in wish.kinds:
        why = "another version wrote it, and which weights are its winner's cannot be told"
    if why is None and (study.finished_at is None or study.finished_at > before):
        why = "it ended later than the wish says"
    if why is not None:
        return frozenset(), f"Nothing of it goes: {why}"
    kinds = wish.kinds - {Prunable.DATASETS}
    rows = needs.need_of_weights(session, study) if kinds & set(ROWS_NEEDED) else None
    if rows is not None:
        return kinds - set(ROWS_NEEDED), f"Its weights and rows stay: {rows}"
    if Prunable.STUDIES in kinds and wish.keep_winners and study.model is not None:
        return kinds, "It is not removed whole, since winners are kept"
    return kinds, None


def _prune_datasets(core: Core, before: float, dry_run: bool) -> list[PrunedView]:
    """Delete the data sets of the caller's project that nothing names, each in a transaction of its own."""
    project = caller.current().project
    with core.database.reading() as session:
        old = select(DatasetRow).where(DatasetRow.created_at <= before, DatasetRow.project == project)
        rows = list(session.scalars(old))
        users = datasets.users(session, [row.digest for row in rows])
    items = []
    for row in rows:
        of = users[row.digest]
        if of.studies or of.schedules or of.active:
            continue
        try:
            if not dry_run:
                uploads.delete(core, row.digest, unless_named=True)
        except (NotFound, Conflict):
            continue  # somebody has deleted or used it just now
        unpacked = row.unpacked_bytes if row.kind in ARCHIVES.values() else 0
        count = row.file_count + bool(unpacked)
        items.append(PrunedView(kind=Prunable.DATASETS, dataset=row.digest, files=count, bytes=row.bytes + unpacked))
    return items
