"""Trials as flat rows, for tables and data frames; the command line and the client write the same."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from luthier.service.schemas import TrialView

Sheet = Literal["csv", "jsonl"]


def trial_row(trial: TrialView) -> dict[str, Any]:
    """Return a trial as one flat row: `params.<name>` for parameters, `last.<metric>` for the last scores."""
    plain = trial.model_dump(mode="json", exclude={"params", "values", "files", "stopping"})
    if trial.taken_from is not None:
        plain["taken_from"] = f"{trial.taken_from.study}/{trial.taken_from.trial}"
    last = trial.values[-1] if trial.values else None
    return (
        {"number": plain.pop("number"), "state": plain.pop("state"), "value": plain.pop("value")}
        | {f"params.{key}": value for key, value in trial.params.items()}
        | {"steps": last.step if last else 0}
        | {f"last.{key}": value for key, value in (last.metrics.items() if last else ())}
        | plain
    )


def sheet(trials: Sequence[TrialView], form: Sheet) -> str:
    """Return trials as text: csv with a row each, or jsonl with an object a line."""
    if form == "jsonl":
        return "".join(json.dumps(trial.model_dump(mode="json"), ensure_ascii=False) + "\n" for trial in trials)
    rows = [trial_row(trial) for trial in trials]
    names = dict.fromkeys(column for row in rows for column in row)  # in the order they are met
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    if names:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def texts(given: str | Iterable[str]) -> list[str]:
    """Return several texts as a list; a single one is one text, and not its letters."""
    return [given] if isinstance(given, str) else [*given]
