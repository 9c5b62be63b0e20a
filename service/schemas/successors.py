"""Old trials in a study that goes on from them, as the REST interface answers them."""

from typing import Literal

from pydantic import BaseModel


class TakenFrom(BaseModel):
    """Where a trial ran that was taken over whole.

    Attributes:
        study: the name that its study had.
        trial: its number there.
    """

    study: str
    trial: int


class TakenView(BaseModel):
    """What became of an old trial, in a study that goes on from others.

    Attributes:
        from_trial: its number in the old study, or the place of its row, from 0.
        trial: its number here; null where it was dropped.
        taken: trials: whole, with its scores, at no cost; params: its configuration is run anew; null: dropped.
        why: what was changed, or why it was dropped.
    """

    from_trial: int
    trial: int | None = None
    taken: Literal["trials", "params"] | None = None
    why: str | None = None


class TakenOverView(BaseModel):
    """The old trials that a study goes on from.

    Attributes:
        study: the one that they ran in; null for trials of elsewhere.
        trials: how many were taken over whole.
        params: how many configurations are run anew.
        dropped: how many were dropped.
        reason: why none was taken over whole, as a sentence.
        items: the first of them, by their old numbers.
    """

    study: str | None = None
    trials: int = 0
    params: int = 0
    dropped: int = 0
    reason: str | None = None
    items: list[TakenView] = []

    def __str__(self) -> str:
        """Return it as a sentence."""
        where = self.study or "elsewhere"
        counts = f"{self.trials} trials of {where} taken over whole, {self.params} run anew, {self.dropped} dropped"
        return counts + (f". {self.reason}" if self.reason else "")
