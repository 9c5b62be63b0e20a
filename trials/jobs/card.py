"""The card of a packed model, README.md: what it does, how it scored and was measured, and how it is used.

`pack` writes it into the archive. It holds no path of this machine; all that can be reproduced is in luthier.json.
"""

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from luthier.studies.protocol import Assignment
from luthier.studies.semantics import MEASURED_ALONE
from luthier.studies.text import one_line
from luthier.studies.wire import Metrics
from luthier.trials.data.targets import Targets
from luthier.trials.jobs.card_metadata import metadata
from luthier.trials.tasks.usage import Usage

NAME = "README.md"
SHOWN_LABELS = 50

EXACTLY = (
    "The test scores are those of this model as it is packed: in float32, each example without padding. On a CPU the "
    "code below gives the same scores to 0.00001."
)
IN_BATCHES = (
    "All scores were measured as the search measures: in batches with padding, and in its number format (precision "
    "{precision}). What the code below gives for one example at a time may differ: probabilities by some thousandths "
    "where that was bfloat16, else by less."
)
SEARCH = (
    " The validation scores are those of the search: in batches, and in its number format (precision {precision}; in "
    "bfloat16, probabilities differ by some thousandths)."
)
WITHOUT_TEST = "There was no test split. The model was chosen by its validation scores: expect a little less."


def card(
    assignment: Assignment, usage: Usage, targets: Targets, rows: Mapping[str, int], test: Metrics | None, hub: bool
) -> str:
    """Return the text of a model's card.

    Args:
        assignment: How the model was made.
        usage: How it is used.
        targets: What it has learned.
        rows: Split name -> its examples.
        test: Its metrics on the test split, if there is one.
        hub: The base model is one of the hub, so that its name is known there.
    """
    name = assignment.model
    base = name if hub else PurePath(name).name
    lines = [metadata(assignment, usage, test, hub), "", f"# {assignment.spec.name}", ""]
    lines += [f"{_plain(base)}, fine-tuned for {assignment.spec.task} by Luthier.", *_scores(assignment, rows, test)]
    if targets.label_names:
        shown = targets.label_names[:SHOWN_LABELS]
        further = len(targets.label_names) - len(shown)
        listed = json.dumps(shown, ensure_ascii=False)
        lines += ["", "## Labels", "", f"    {listed}{f' and {further} more' if further else ''}"]
    lines += ["", "## Use", "", "In this directory:", "", "```python", usage.code.rstrip(), "```"]
    for note in usage.notes:
        lines += ["", note]
    lines += ["", "`luthier.json` holds configuration, seed, versions and the fingerprint of the data.", ""]
    return "\n".join(lines)


def _scores(assignment: Assignment, rows: Mapping[str, int], test: Metrics | None) -> list[str]:
    """Return the section of scores."""
    validation: Any = assignment.provenance.get("validation")
    told = [("test", test), ("validation", validation)]
    found = {split: scores for split, scores in told if isinstance(scores, dict) and scores and split in rows}
    if not found:
        return []
    lines = ["", "## Scores", "", f"| | {' | '.join(f'{split} ({rows[split]} rows)' for split in found)} |"]
    lines.append("|---" * (len(found) + 1) + "|")
    for metric in next(iter(found.values())):
        values = (scores.get(metric) for scores in found.values())
        lines.append(f"| {metric} | {' | '.join('-' if value is None else f'{value:.5f}' for value in values)} |")
    return [*lines, "", _measured(assignment, test, "validation" in found)]


def _measured(assignment: Assignment, test: Metrics | None, validated: bool) -> str:
    """Return how the scores were measured."""
    precision = assignment.spec.precision
    if test is not None and assignment.spec.semantics < MEASURED_ALONE:
        return IN_BATCHES.format(precision=precision)
    text = WITHOUT_TEST if test is None else EXACTLY
    return text + (SEARCH.format(precision=precision) if validated else "")


def _plain(name: str) -> str:
    """Return a name as it stands in a line of Markdown: as code, without what would end it."""
    return f"`{one_line(name.replace('`', ''))}`"
