"""The client's methods about the trials of a study: read, added, drawn, and written for other programs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote

from luthier.service.client.connection import Connection
from luthier.service.client.plot import Plot
from luthier.service.client.rows import Sheet, sheet, trial_row
from luthier.service.schemas import Page, TrialView

if TYPE_CHECKING:
    import pandas as pd


class TrialMethods(Connection):
    """The methods about trials; `Client` has them."""

    def trials(
        self,
        name: str,
        state: str | Sequence[str] | None = None,
        sort: str | None = None,
        limit: int | None = None,
    ) -> Iterator[TrialView]:
        """Yield a study's trials.

        Args:
            name: the study's name.
            state: only those in this state (a TrialState), or in one of these.
            sort: what orders them, as `-value`, `params.learning_rate`, `seconds` or a metric; None: their number.
            limit: so many at most; None: all.

        Raises:
            ServiceError: 422 for a key that the study does not have; its sentence names those that it has.
        """
        return self._transport.pages(Page[TrialView], study_path(name, "trials"), state, limit, sort=sort)

    def trial(self, name: str, number: int) -> TrialView:
        """Return one trial of a study."""
        return self._transport.model(TrialView, "GET", study_path(name, "trials", str(number)))

    def logs(self, name: str, number: int) -> str:
        """Return what a trial has printed, up to its worker's latest message."""
        return self._transport.request("GET", study_path(name, "trials", str(number), "logs")).text

    def enqueue(
        self, name: str, params: Mapping[str, Any], seed: int | None = None, key: str | None = None
    ) -> TrialView:
        """Have this configuration run next; before the study's inspection it waits, right after the baseline.

        Args:
            name: the study's name.
            params: hyperparameter -> value; the sampler draws the others.
            seed: as another trial shows it: the same configuration with the same seed gives the same scores, also
                where the study has it already. None: the seed of the trial's number.
            key: makes it safe to call again: the same key answers the same trial, as long as the study exists.

        Raises:
            ServiceError: 422 when the configuration lies outside the study's space, or the key came with another one;
                409 when the study takes no trial, or has this configuration already and no seed is given.
        """
        body = {"params": dict(params)} | ({} if seed is None else {"seed": seed})
        headers = {} if key is None else {"Idempotency-Key": key}
        return self._transport.model(TrialView, "POST", study_path(name, "trials"), json=body, headers=headers)

    def plot(self, name: str, kind: str) -> Plot:
        """Return a plot of a study's search, which a notebook shows.

        Args:
            name: the study's name.
            kind: history, importance, parallel, slice, contour, intermediate or timeline.

        Raises:
            ServiceError: 404 for an unknown study, 422 for an unknown kind, 409 where there is nothing to draw yet.
        """
        path = study_path(name, "plots", kind)
        figure = self._transport.request("GET", path, params={"format": "json"}).text

        def asked(**params: Any) -> Any:
            return self._transport.request("GET", path, params=params)

        return Plot(
            f"{name}-{kind}",
            figure,
            page=lambda: str(asked(standalone=True).text),
            png=lambda: bytes(asked(format="png").content),
        )

    def export(self, name: str, into: Path | str | None = None, form: Sheet = "csv") -> str:
        """Return every trial as text, as `luthier export` prints it.

        Args:
            name: the study's name.
            into: a file to write the text to, too.
            form: csv, a row a trial; or jsonl, an object a line.

        Raises:
            ValueError: `form` is another one.
            OSError: the file cannot be written.
        """
        if form not in get_args(Sheet):
            raise ValueError(f"form is {form!r}, and must be one of {', '.join(get_args(Sheet))}.")
        text = sheet([*self.trials(name)], form)
        if into is not None:
            Path(into).write_text(text, encoding="utf-8")
        return text

    def trials_dataframe(self, name: str) -> "pd.DataFrame":
        """Return every trial as a row of a pandas data frame, indexed by number, with the columns of `export`.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd

        frame = pd.DataFrame([trial_row(trial) for trial in self.trials(name)])
        return frame if frame.empty else frame.set_index("number")


def study_path(name: str, *rest: str) -> str:
    """Return the path of a route of a study."""
    return "/".join(("/v1/studies", *(quote(part, safe="") for part in (name, *rest))))
