"""The client's methods about predictions: a table is sent, waited for, and its answers are brought.

A table is a file, a pandas data frame, or rows as mappings.
"""

import csv
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.service.client.connection import Connection
from luthier.service.client.trials import study_path
from luthier.service.client.watch import PredictionWait
from luthier.service.download import DownloadError
from luthier.service.schemas import Page
from luthier.service.schemas.predictions import PredictionView
from luthier.service.schemas.results import ResultsView
from luthier.studies.files import HashingWriter

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("csv", "tsv", "jsonl", "json", "parquet", "arrow")
SEND_SECONDS = 600.0  # for the answer, once a table has been sent


class PredictionMethods(Connection):
    """The methods about predictions and results; `Client` has them."""

    def predict(
        self,
        name: str,
        table: "str | Path | pd.DataFrame | Iterable[Mapping[str, Any]]",
        out: Path | str | None = None,
        timeout_seconds: float | None = None,
        interval_seconds: float = 1.0,
    ) -> Any:
        """Have the winner of a study answer the rows of a table, and wait for it.

        Args:
            name: the study's name.
            table: a csv, tsv, jsonl, json, parquet or arrow file; a data frame; or rows, a mapping each.
            out: a file for the answers, as csv.
            timeout_seconds: how long to wait at most; None for as long as it takes.
            interval_seconds: between two looks.

        Returns:
            `out` where it is given; else the table with the answers beside its columns: a data frame with the same
            index for a data frame, and for others a list of rows, whose values are text.

        Raises:
            ServiceError: 404 or 409 where there is no study or no winner; 422 where the table cannot be used.
            ValueError: the file's ending says no kind of table, or that of `out` another one than csv; a row is none.
            IsADirectoryError: `out` is a folder.
            TimeoutError: it has not ended in time; it goes on.
            DownloadError: the file arrived damaged.
        """
        check_out(out)
        sent = self.start_prediction(name, table)
        wait = PredictionWait(sent, timeout_seconds, interval_seconds)
        return self.take_prediction(wait.end(lambda: self.prediction(name, sent.id)), table, out)

    def start_prediction(
        self, name: str, table: "str | Path | pd.DataFrame | Iterable[Mapping[str, Any]]"
    ) -> PredictionView:
        """Send a table to be predicted, and return the prediction, which is queued; arguments as for `predict`."""
        path = study_path(name, "predict")
        if isinstance(table, str | Path):
            file, kind = Path(table), table_kind(Path(table))
            with file.open("rb") as content:
                return self._transport.model(
                    PredictionView, "POST", path, params={"format": kind}, content=content, timeout=SEND_SECONDS
                )
        if isinstance(table, Mapping | bytes) or not isinstance(table, Iterable):
            raise ValueError(f"a table is a file, a data frame, or rows, and not {type(table).__name__}.")
        lines = lines_of(table)
        return self._transport.model(
            PredictionView, "POST", path, params={"format": "jsonl"}, content=lines, timeout=SEND_SECONDS
        )

    def prediction(self, name: str, prediction_id: int) -> PredictionView:
        """Return a prediction as it is now."""
        return self._transport.model(PredictionView, "GET", study_path(name, "predictions", str(prediction_id)))

    def predictions(self, name: str) -> Iterator[PredictionView]:
        """Yield a study's predictions, newest first."""
        return self._transport.pages(Page[PredictionView], study_path(name, "predictions"))

    def download_prediction(self, name: str, prediction_id: int, into: Path | str) -> Path:
        """Write the answers of a complete prediction into a csv file, which appears whole or not at all.

        Raises:
            ServiceError: 409 where it is not complete.
            DownloadError: the file arrived damaged.
            OSError: the disk refuses the file.
        """
        into = Path(into)
        into.parent.mkdir(parents=True, exist_ok=True)
        path = study_path(name, "predictions", str(prediction_id), "file")
        with (
            tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{into.name}.") as scratch,
            self._transport.stream(path) as response,
        ):
            whole = Path(scratch, "predictions.csv")
            with whole.open("wb") as file:
                writer = HashingWriter(file)
                for chunk in response.iter_bytes():
                    writer.write(chunk)
            if writer.sha256 != response.headers.get("X-Content-SHA256"):
                raise DownloadError(f"The predictions from {self.url}{path} arrived damaged. Download them again.")
            whole.replace(into)
        return into

    def delete_prediction(self, name: str, prediction_id: int) -> None:
        """Delete a prediction with its file; one that runs is ended."""
        self._transport.request("DELETE", study_path(name, "predictions", str(prediction_id)))

    def results(self, name: str) -> ResultsView:
        """Return the winner's tables on validation and test: by class, confusion, calibration, examples to look at.

        Raises:
            ServiceError: 409 where the study has no winner yet.
        """
        return self._transport.model(ResultsView, "GET", study_path(name, "results"))

    def write_report(self, name: str, into: Path | str) -> Path:
        """Write a study as one html file that needs no network: winner, scores, tables, trials, plots and spec."""
        into = Path(into)
        into.write_bytes(self._transport.request("GET", study_path(name, "report"), timeout=SEND_SECONDS).content)
        return into

    def take_prediction(self, found: PredictionView, table: Any, out: Path | str | None) -> Any:
        """Return what `predict` returns of a complete prediction; its file stays at the service."""
        if out is not None:
            return self.download_prediction(found.study, found.id, out)
        with tempfile.TemporaryDirectory() as scratch:
            file = self.download_prediction(found.study, found.id, Path(scratch, "predictions.csv"))
            if hasattr(table, "to_json"):
                return _beside(table, file)
            with file.open(newline="", encoding="utf-8") as lines:
                return list(csv.DictReader(lines))


def table_kind(file: Path) -> str:
    """Return the kind of a table by the ending of its name. Raises ValueError."""
    kind = file.suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise ValueError(f"{file}: its name must end with the kind of its table, one of .{', .'.join(KINDS)}.")
    return kind


def check_out(out: Path | str | None) -> None:
    """Raise IsADirectoryError or ValueError where a path cannot become the csv file of the answers."""
    if out is None:
        return
    path = Path(out)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a csv file in it, as {path / 'predictions.csv'}.")
    kind = path.suffix.lower().removeprefix(".")
    if kind in KINDS and kind != "csv":
        raise ValueError(f"{path}: the answers are a csv file; end its name so, as {path.with_suffix('.csv')}.")


def lines_of(table: Any) -> Iterator[bytes]:
    """Yield a data frame, or rows, as lines of JSON."""
    rows = table.to_dict("records") if hasattr(table, "to_json") else table
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            wanted = 'a mapping of columns, as {"text": "..."}'
            raise ValueError(f"row {number} must be {wanted}, and not {type(row).__name__}.")
        yield json.dumps(dict(row), default=_plain, allow_nan=True).encode() + b"\n"


def _plain(value: Any) -> Any:
    """Return a value of numpy or pandas, or a path, as JSON has it."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _beside(table: Any, file: Path) -> Any:
    """Return a data frame with the answers of a file beside its columns."""
    import pandas as pd

    answers = pd.read_csv(file)
    new = [column for column in answers.columns if column not in set(map(str, table.columns))]
    return table.join(answers[new].set_index(table.index))
