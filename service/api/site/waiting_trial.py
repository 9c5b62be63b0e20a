"""What a trial's page shows of a configuration that waits for its study's inspection: there is no row of it yet.

`trial.py` shows it. It has a number and the buttons that REST takes for it already; nothing of it was evaluated.
"""

from typing import Any

from sqlalchemy.orm import Session

from luthier.service.api.site import buttons
from luthier.service.api.waiting_views import waiting_view
from luthier.service.dispatch import waiting_trials
from luthier.service.storage.tables import StudyRow
from luthier.studies.hyperparameters import HYPERPARAMETERS
from luthier.studies.protocol import ENDED, FINISHED

SEEN = "waiting"  # what the page has shown, to a look at its part that lives
STOP = buttons.Button("stop", "Stop", frozenset(), "It will not run: its trial is cancelled, and keeps its number.")
DELETE = buttons.Button("delete", "Delete", frozenset(), "It will not run, and its number is not given again.")


def values(session: Session, study: StudyRow, number: int) -> dict[str, Any] | None:
    """Return what the page shows; None where nothing of this number waits. Raises NotFound for what was deleted."""
    rows = waiting_trials.waiting(session, study.id)
    if not 0 < number <= len(rows):
        return None
    waiting_trials.check_there(study, number, rows[number - 1])
    trial = waiting_view(study, number, rows[number - 1])
    there = [n for n, row in enumerate(rows, 1) if row.ended != waiting_trials.DELETED]
    is_over = trial.state in FINISHED
    return {
        "name": study.name,
        "trial": trial,
        "waits": "ended" if study.state in ENDED else "stopped" if is_over else "waits",
        "metric": study.spec.objective.metric if study.is_readable else "",
        "charts": [],
        "latest": {},
        "steps": 0,
        "cure": None,
        "abouts": {key: known.about for key, known in HYPERPARAMETERS.items()},
        "is_over": is_over,
        "numbers": {
            "before": max((n for n in there if n < number), default=None),
            "after": min((n for n in there if n > number), default=None),
        },
        "shown_buttons": [DELETE] if is_over else [STOP, DELETE],
        "seen": SEEN,
        "shown_state": SEEN,
    }
