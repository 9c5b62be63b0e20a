"""The searches of a service, told what our rows say: claims ask them, reports tell them, the reaper mends them.

Our rows are always written first and committed; only then a search is told, outside of any transaction of ours. What a
search raises while it is told stays with its study: it is noted (`search_faults.py`), the search is opened anew, and
`search_repair.py` writes what Optuna lacks.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import IntegrityError

from luthier.service.dispatch import search_repair
from luthier.service.dispatch.open_searches import OpenSearches, resolved_space
from luthier.service.dispatch.search_faults import Doing
from luthier.service.dispatch.search_openings import PATIENCE_SECONDS
from luthier.service.errors import Unavailable
from luthier.service.storage.database import is_passing
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.search.search import Search
from luthier.studies.search.study_trials import Contradicted, Misnumbered

__all__ = ["SearchPool", "resolved_space"]
ADOPTION_SECONDS = 10.0  # until trials that a crash left in Optuna alone are read; a turn lasts longer
LONG_PATIENCE_SECONDS = 60.0  # of who cannot do without the search


class SearchPool(OpenSearches):
    """The searches of one service, and how they are kept up to date with our rows. Threads share it."""

    def prepared(self, study: StudyRow, number: int, patience: float = PATIENCE_SECONDS) -> Search:
        """Return the study's search, which has the trials before `number`.

        Where it is not so, the search is opened anew. An opening that has trials to restore needs the study's turn.

        Args:
            study: the study, whose turn the caller has.
            number: the first number that our rows lack.
            patience: seconds that an opening may take.

        Raises:
            SearchOpening: it is being opened; the caller must give the turn back.
        """
        search = self.get(study, patience, has_turn=True)
        if search.count() == number and search.is_dense() and study.id not in self._damaged:
            return search
        self._drop(study.id)
        return self.get(study, ADOPTION_SECONDS, has_turn=True)

    def report(self, study: StudyRow, row: AssignmentRow, step: int, value: float) -> bool:
        """Tell Optuna of a trial's evaluation, and return whether the trial is to end now, as pruned.

        What the search raises is noted; the evaluation is then told later, and the trial trains on.

        Args:
            study: the trial's study.
            row: the trial.
            step: number of the evaluation, from 1.
            value: the objective's score.
        """
        if not self.faults.rests(study.id, Doing.TELL):
            with self._isolated(study):
                search = self.get(study)
                search_repair.replay_reports(self._database, search, row, step - 1)
                prune = search.report(row.number, step, value)
                search_repair.check_end(self._database, search, row)
                return prune
        return False

    def catch_up(self, study: StudyRow, row: AssignmentRow) -> None:
        """Tell Optuna of the evaluations of a paused trial that it lacks; samplers learn from them meanwhile."""
        if not self.faults.rests(study.id, Doing.TELL):
            with self._isolated(study):
                search_repair.replay_reports(self._database, self.get(study), row, row.step)

    def tell(self, study: StudyRow, row: AssignmentRow) -> None:
        """Tell Optuna how a trial ended, after the evaluations that it lacks; `mend` does so if the search raises."""
        if not self.faults.rests(study.id, Doing.TELL):
            with self._isolated(study):
                search_repair.tell(self._database, self.get(study), row)

    def mend(self, study: StudyRow, patience: float | None = None) -> None:
        """Open the search of a study that has trials, and bring Optuna up to date about it. What it raises is noted.

        Args:
            study: its row.
            patience: seconds that an opening may take; None: a moment, and none while others are opened too.
        """
        if patience is None:
            if self.faults.rests(study.id, Doing.TELL):
                return
            patience = PATIENCE_SECONDS if len(self._opening) <= 1 else 0.0
        with self._isolated(study):
            search = self.get(study, patience)
            search_repair.tell_ends(self._database, study.id, search)
            self.faults.heal(study.id, Doing.TELL)
            if study.search_error is not None and self._alone:  # of an earlier start; another service's is its own
                self.faults.show(study.id)

    def failed(self, study: StudyRow, doing: Doing, error: Exception) -> int:
        """Note that a study's search raised an error, and open it anew at its next use; see `SearchFaults.note`."""
        if isinstance(error, Misnumbered | Contradicted):
            self._damaged.add(study.id)
        elif isinstance(error, IntegrityError):
            self._remove_orphans()
        self._drop(study.id)
        repeats = self.faults.note(study.id, study.name, doing, error)
        if repeats == 2:  # perhaps Optuna's trials are damaged: the next opening writes them anew from our rows
            self._damaged.add(study.id)
        return repeats

    @contextmanager
    def _isolated(self, study: StudyRow) -> Iterator[None]:
        """Note what the study's search raises in the block. Raises where our own database does not answer."""
        try:
            yield
        except Unavailable:  # it is being opened, or another request has its turn: `mend` comes back
            return
        except Exception as error:
            if is_passing(error):
                raise
            self.failed(study, Doing.TELL, error)

    def close_study(self, study: StudyRow) -> None:
        """Bring Optuna up to date about a study that has ended, and close its search."""
        if study.inspection is not None and study.started_at is not None and study.is_readable:
            self.mend(study, LONG_PATIENCE_SECONDS)
        self.forget(study.id)
