"""The buttons of pages: which there are, in which states they make sense, and what a push of one loses.

To add one, add a line here, and what it calls to the acts of its page (`study.ACTS`, `trial.ACTS`, `schedules.ACTS`,
`workers.ACTS`); for one that asks for more, a page at its path.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from luthier.studies.protocol import ENDED, FINISHED, StudyState, TrialState

ALIVE = frozenset(StudyState) - ENDED


@dataclass(frozen=True)
class Button:
    """A button: a form that posts to the page's path and its action, or a link that leads there.

    Attributes:
        action: the last part of the path.
        label: the button's words.
        states: those of the thing in which it makes sense.
        loses: what is lost, as sentences; it then asks first. "" for nothing.
        first: it is what people most likely want.
        asks: it leads to a form at that path, which asks for more.
    """

    action: str
    label: str
    states: frozenset[str]
    loses: str = ""
    first: bool = False
    asks: bool = False


STUDY = (
    Button("pause", "Pause", frozenset({StudyState.RUNNING})),
    Button("resume", "Resume", frozenset({StudyState.PAUSED}), first=True),
    Button("extend", "Extend", frozenset(StudyState) - {StudyState.STOPPING}, asks=True),
    Button("successor", "Go on in a new study", ENDED, asks=True),
    Button("enqueue", "Try a configuration", ALIVE - {StudyState.STOPPING}, asks=True),
    Button(
        "stop",
        "Stop",
        ALIVE - {StudyState.STOPPING},
        "No new trial starts; running ones finish, the winner is measured.",
    ),
    Button("cancel", "Cancel", ALIVE, "Running trials end now, their work is lost, and no winner is measured."),
    Button("delete", "Delete", ENDED, "Its trials, their logs and its model are removed. There is no way back."),
)
UNMEASURED = Button("resume", "Measure the winner again", ENDED, first=True)
TRIAL = (
    Button("again", "Try another like it", frozenset(TrialState), asks=True),
    Button(
        "stop",
        "Stop",
        frozenset({TrialState.QUEUED, TrialState.RUNNING, TrialState.PAUSED}),
        "It ends, a running one at its next evaluation, complete with its best one; without any it is cancelled.",
    ),
    Button(
        "retry",
        "Run it again",
        frozenset({TrialState.FAILED, TrialState.CANCELLED, TrialState.PRUNED}),
        first=True,
    ),
    Button(
        "delete",
        "Delete",
        FINISHED | {TrialState.PAUSED},
        "Its files, its log and its scores are removed, and the search forgets what it has learned from it. "
        "There is no way back.",
    ),
)
WORKER = (Button("release", "Release", frozenset({"quarantined"})),)
SCHEDULE = (
    Button("trigger", "Run now", frozenset({"active", "paused", "ended"})),
    Button("pause", "Pause", frozenset({"active"})),
    Button("resume", "Resume", frozenset({"paused"}), first=True),
    Button(
        "delete",
        "Delete",
        frozenset({"active", "paused", "ended"}),
        "Its runs and its champions are removed, with the model in use; the studies stay. There is no way back.",
    ),
)
ROLLBACK = Button(
    "rollback",
    "Roll back",
    frozenset({"active", "paused", "ended"}),
    "The champion before the present one is in use again.",
)


def of_state(buttons: Iterable[Button], state: str) -> list[Button]:
    """Return those of the buttons that make sense in a state."""
    return [button for button in buttons if state in button.states]
