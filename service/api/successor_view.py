"""The view of the old trials that a study goes on from."""

from sqlalchemy.orm import Session

from luthier.service.lifecycle import succession
from luthier.service.schemas import TakenOverView, TakenView
from luthier.service.storage.tables import StudyRow
from luthier.studies.old_trials import Takeover

MOST_ITEMS = 500  # old trials that a study's view lists


def taken_over_view(session: Session, study: StudyRow) -> TakenOverView | None:
    """Return what a study took over from old trials; None where it asked for nothing, or is not inspected yet."""
    record = succession.record_of(session, study.id)
    if not isinstance(record, Takeover):
        return None
    whole, anew = (sum(t.trial is not None and t.whole is w for t in record.taken) for w in (True, False))
    items = [
        TakenView(
            from_trial=t.from_trial,
            trial=t.trial,
            taken=None if t.trial is None else "trials" if t.whole else "params",
            why=t.why or None,
        )
        for t in record.taken[:MOST_ITEMS]
    ]
    dropped = len(record.taken) - whole - anew
    counts = {"trials": whole, "params": anew, "dropped": dropped}
    return TakenOverView(study=record.study, reason=record.reason, items=items, **counts)
