"""Findings about classes: imbalance, rare ones, those that a split lacks, labels that look like slips or gaps.

`ClassTargets.findings` calls `label_findings` at a study's inspection. It looks at counts alone, so the number of rows
does not matter.
"""

from collections.abc import Iterator, Mapping, Sequence

from luthier.studies.findings import EXAMPLES, Finding, note, warning
from luthier.trials.data.label_spellings import shown
from luthier.trials.data.label_values import is_gap
from luthier.trials.data.near_labels import near_labels

RARE_ROWS = 10
"""A class with fewer training rows is hardly learned."""

Counts = Mapping[str, Mapping[str, int]]  # split -> label -> its rows or words


def label_findings(counts: Counts, unit: str, dominant: float, declared: bool) -> list[Finding]:
    """Return what is remarkable about the classes of a study.

    Args:
        counts: Split -> label -> how often it occurs, 0 included; in the order train, validation, test.
        unit: What is counted: "rows" or "words".
        dominant: The share of the training split above which a label is said to dominate it.
        declared: A file declares the names of the classes: then a word for a missing value is one of them.
    """
    totals: dict[str, int] = {}
    for split in counts.values():
        for label, count in split.items():
            totals[label] = totals.get(label, 0) + count
    occurring = {label: count for label, count in totals.items() if count}
    return [
        *_imbalance(counts["train"], unit, dominant),
        *_rare(counts["train"], occurring, unit),
        *_one_sided(counts, occurring, unit),
        *([] if declared else _gaps(occurring, unit)),
        *near_findings(occurring, unit),
        *_unused(totals),
    ]


def set_findings(counts: Counts, declared: bool) -> list[Finding]:
    """Return what is remarkable about labels of which a row has any number; arguments as those of `label_findings`."""
    totals: dict[str, int] = {}
    for split in counts.values():
        for label, count in split.items():
            totals[label] = totals.get(label, 0) + count
    occurring = {label: count for label, count in totals.items() if count}
    return [
        *_rare(counts["train"], occurring, "rows"),
        *_one_sided(counts, occurring, "rows"),
        *([] if declared else _gaps(occurring, "rows")),
        *near_findings(occurring, "rows"),
        *_unused(totals),
    ]


def _told(labels: Sequence[str], counts: Mapping[str, int]) -> str:
    """Return a few labels with their counts, as text."""
    rest = f" and {len(labels) - EXAMPLES} more" if len(labels) > EXAMPLES else ""
    return ", ".join(f"{shown(label)} ({counts[label]})" for label in labels[:EXAMPLES]) + rest


def _imbalance(train: Mapping[str, int], unit: str, dominant: float) -> Iterator[Finding]:
    label = max(train, key=train.__getitem__)
    total = sum(train.values())
    if train[label] > dominant * total:
        yield warning(
            "imbalance",
            f"{train[label] / total:.1%} of the training {unit} have the label {shown(label)}: always answering it "
            "scores as high in accuracy.",
            "Take macro_f1 or another metric that counts all classes alike as the objective, search over "
            "class_weighting, or add rows of the other classes.",
            train[label],
            [label],
        )


def _rare(train: Mapping[str, int], occurring: Mapping[str, int], unit: str) -> Iterator[Finding]:
    rare = sorted((label for label in occurring if 0 < train[label] < RARE_ROWS), key=lambda label: train[label])
    if 0 < len(rare) < len(occurring):  # where all are rare, the data are few
        yield note(
            "rare-labels",
            f"{len(rare)} of {len(occurring)} labels have fewer than {RARE_ROWS} training {unit}: "
            f"{_told(rare, train)}.",
            len(rare),
            rare,
            "Add rows of them, or join them to other classes.",
        )


def _one_sided(counts: Counts, occurring: Mapping[str, int], unit: str) -> Iterator[Finding]:
    """Yield what the splits lack of each other's labels."""
    held = {split: [label for label, count in found.items() if count] for split, found in counts.items()}
    for split in ("validation", "test"):
        if len(held.get(split, ())) == 1 and len(occurring) > 1:
            yield warning(
                f"one-label-in-{split}",
                f"All {unit} of the {split} split have the label {shown(held[split][0])}: its scores say nothing about "
                "the other labels.",
                f"Give it rows of every label, as a file or by a larger share (dataset.{split}).",
                sum(counts[split].values()),
                held[split],
            )
    lacking = [label for label in held["train"] if not counts["validation"][label]]
    if lacking:
        yield warning(
            "labels-not-in-validation",
            f"{len(lacking)} of {len(held['train'])} labels of the training split have no {unit} in validation, so "
            f"that its scores say nothing about them ({unit} in training): {_told(lacking, counts['train'])}.",
            "Add rows of them, or a larger dataset.validation.",
            len(lacking),
            lacking,
        )
    untrained = [label for label in occurring if not counts["train"][label]]
    if untrained:
        yield warning(
            "labels-not-in-training",
            f"{len(untrained)} labels have no training {unit}, so that they are always answered wrong ({unit} in the "
            f"other splits): {_told(untrained, occurring)}.",
            "Add training rows of them.",
            len(untrained),
            untrained,
        )


def _gaps(occurring: Mapping[str, int], unit: str) -> Iterator[Finding]:
    """Yield the words for a missing value among other labels; signs are honest labels beside other signs."""
    gaps = [label for label in occurring if is_gap(label)]
    signs = [label for label in occurring if not any(map(str.isalnum, label))]
    if len(signs) > 1:
        gaps = [label for label in gaps if label not in signs]
    if gaps and len(gaps) < len(occurring):
        yield warning(
            "missing-labels",
            f"Some labels are words for a missing value ({unit}): {_told(gaps, occurring)}. They are taken as classes.",
            "Label these rows or remove them; if it is a class of its own, give it another name ('no answer', say).",
            sum(occurring[label] for label in gaps),
            gaps,
        )


def near_findings(occurring: Mapping[str, int], unit: str) -> Iterator[Finding]:
    """Yield the warning that some labels are nearly equal; `occurring`: label -> how many `unit` have it."""
    pairs = near_labels(occurring)
    if pairs:
        told = [f"{shown(a)} ({occurring[a]}) and {shown(b)} ({occurring[b]})" for a, b in pairs]
        rest = f", and {len(told) - EXAMPLES} more pairs" if len(told) > EXAMPLES else ""
        yield warning(
            "near-equal-labels",
            f"Some labels are nearly equal and are taken as different classes ({unit}): "
            f"{'; '.join(told[:EXAMPLES])}{rest}.",
            "If they mean the same, write them alike.",
            len(pairs),
            told,
        )


def _unused(totals: Mapping[str, int]) -> Iterator[Finding]:
    unused = [label for label, count in totals.items() if not count]
    if unused:
        rest = f" and {len(unused) - EXAMPLES} more" if len(unused) > EXAMPLES else ""
        yield note(
            "unused-labels",
            f"{len(unused)} of {len(totals)} declared labels occur in no row: "
            f"{', '.join(map(shown, unused[:EXAMPLES]))}{rest}.",
            len(unused),
            unused,
        )
