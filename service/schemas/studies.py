"""Studies, as the REST interface answers them."""

from typing import Any

from pydantic import AwareDatetime, BaseModel, FiniteFloat

from luthier.service.caller import DEFAULT_PROJECT
from luthier.service.schemas.data import DataView
from luthier.service.schemas.html_table import html_table
from luthier.service.schemas.successors import TakenOverView
from luthier.service.schemas.winners import BaselineView, BestView, ConfirmedView, MajorityView, ModelView
from luthier.studies.hyperparameters import Params
from luthier.studies.protocol import StudyState


class Counts(BaseModel):
    """The number of trials of a study in each state."""

    queued: int = 0
    running: int = 0
    paused: int = 0
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    cancelled: int = 0


class WaitingView(BaseModel):
    """Why a study waits.

    Attributes:
        reason: in a word: `worker` (none is there), `disk` (the service's is full), `share` (all workers are busy),
            `room` (no GPU has memory for its trial), `parallel` (trials of its project or its owner at the same time),
            `gpu_seconds` (those of its project or its owner are used up, or reserved by trials that run), `search` (its
            search cannot draw a trial now).
        message: the same, for people, with the cure.
        seconds: for about how long; null for unknown, and where only a person ends it.
    """

    reason: str
    message: str
    seconds: FiniteFloat | None = None

    @property
    def sentence(self) -> str:
        """The message, and for about how long."""
        return self.message if self.seconds is None else f"{self.message} About {self.seconds:.0f} s more."


class ModelCosts(BaseModel):
    """What trials of a model are expected to take, predicted from those that have ended.

    Attributes:
        model: as in the spec.
        seconds_per_trial: at freeze depth 0, 1, ... of its blocks, else at the baseline, once the outputs of the frozen
            blocks are kept.
    """

    model: str
    seconds_per_trial: list[FiniteFloat]


class StudyView(BaseModel):
    """A study.

    Attributes:
        name: unique in its project.
        project: that it belongs to.
        spec: as it was sent, with its defaults.
        counts: its trials by state.
        taken_trials: how many of them other studies have run; its budget does not pay for them.
        best: the best trial so far; the winner, once the study has ended.
        confirmed: the configurations that were trained again on fresh seeds.
        baseline: null until the baseline has been drawn.
        majority: null until it is inspected, and where an older version inspected it.
        model: null until the winner is packed; after an extension that of the winner before, until the next end.
        gpu_seconds: seconds that workers were busy with its assignments, times the GPUs, or the share of one, that each
            reserved; without a GPU times 1.
        error: why it failed, for people.
        message: anything else that people should know.
        data: its sizes, labels and findings; null until it is inspected, and in listings.
        warnings: what is wrong with it or its data, or was mended, while it goes on; each a sentence.
        taken_over: the old trials that it goes on from; null until it is inspected, without `from`, and in listings.
        parallel: trials that may run at the same time now; `spec.parallel` is what it began with.
        tags: short texts of its users, by which studies are listed.
        notes: plain text of its users.
        weight: its share of the workers' time now, beside other studies of its project and priority.
        priority: a higher one goes first, within its project.
        waiting: why nothing of it runs now, though it has work; null where something does, or it has none.
        expected_gain: of going on: what the rest of the budget is expected to add to the best score, in the metric's
            units; null before ten trials have ended, where the best scores are equal, and once the search has ended.
        costs: what trials are expected to take, by model and freeze depth; empty in listings and events, and before it
            is known.
        etag: of its tags, notes, `parallel`, weight and priority, for If-Match.
    """

    name: str
    project: str = DEFAULT_PROJECT
    state: StudyState
    created_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    spec: dict[str, Any]
    counts: Counts
    taken_trials: int = 0
    best: BestView | None = None
    confirmed: list[ConfirmedView] = []
    baseline: BaselineView | None = None
    majority: MajorityView | None = None
    model: ModelView | None = None
    gpu_seconds: FiniteFloat = 0.0
    error: str | None = None
    message: str | None = None
    data: DataView | None = None
    warnings: list[str] = []
    taken_over: TakenOverView | None = None
    parallel: int | None = None
    tags: list[str] = []
    notes: str = ""
    weight: FiniteFloat = 1.0
    priority: int = 0
    waiting: WaitingView | None = None
    expected_gain: FiniteFloat | None = None
    costs: list[ModelCosts] = []
    etag: str | None = None

    @property
    def best_params(self) -> Params | None:
        """The configuration of the best trial so far; None where none has a score."""
        return self.best.params if self.best is not None else None

    def __repr__(self) -> str:
        """Return the study in a line: its name, state, trials and best score."""
        return f"<Study {self.name}: {self.state.value}, {', '.join(self._told())}>"

    def _repr_html_(self) -> str:
        """Return the study as a small table, as notebooks show it."""
        rows: dict[str, Any] = {"state": self.state.value, "progress": ", ".join(self._told())}
        if self.best is not None:
            rows |= {f"best {name}": value for name, value in self.best.params.items()}
            rows |= {f"test {name}": value for name, value in (self.best.test or {}).items()}
            rows |= {"note": self.best.note} if self.best.note else {}
        return html_table(f"Study {self.name}", rows | ({"error": self.error} if self.error else {}))

    @property
    def done_trials(self) -> int:
        """The number of its own trials that have ended, in any way."""
        counts = self.counts
        return counts.complete + counts.pruned + counts.failed + counts.cancelled - self.taken_trials

    def _told(self) -> list[str]:
        counts = self.counts
        ended = self.done_trials
        total = self.spec.get("budget", {}).get("trials")
        told = [f"{ended}{f'/{total}' if total else ''} trials done"]
        told += [f"{count} {word}" for word in ("running", "paused", "failed") if (count := getattr(counts, word))]
        if self.best is not None:
            metric = self.spec.get("objective", {}).get("metric", "score")
            told.append(f"best {metric} {self.best.value:.4f} (trial {self.best.trial})")
        return told
