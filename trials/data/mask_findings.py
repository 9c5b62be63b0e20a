"""Findings about masks: classes that are not trained or not there, grey values, one mask for several images."""

from collections.abc import Mapping, Sequence

from luthier.studies.findings import Finding, note, warning
from luthier.trials.data.media_tree import listed

MANY = 64
"""Classes without a pixel above which masks look like pictures: soft edges, or grey values instead of class ids."""
_NAMED = 10


def mask_findings(held: Mapping[str, Mapping[str, int]], shared: Sequence[str]) -> list[Finding]:
    """Return what is remarkable about a study's masks.

    Args:
        held: Split name -> label -> its images with that class.
        shared: The masks that several rows name.
    """
    found = []
    lacking = [
        name
        for name in held["train"]
        if not held["train"][name] and any(counts[name] for split, counts in held.items() if split != "train")
    ]
    if lacking:
        text = f"No training mask holds {listed(lacking, _NAMED)}, and others do: such pixels cannot be found."
        cure = "Add training rows with these classes, or write 255 there."
        found.append(warning("classes-not-trained", text, cure, len(lacking), lacking))
    empty = [name for name in held["train"] if not any(counts[name] for counts in held.values())]
    if empty:
        text = f"{len(empty):,} of {len(held['train']):,} classes have no pixel in any mask: {listed(empty, _NAMED)}."
        if len(empty) > MANY:
            cure = (
                "Number the classes 0, 1, 2 and so on; save masks without soft edges, as class ids, not as grey values."
            )
            found.append(warning("classes-without-pixels", text, cure, len(empty), empty))
        else:
            found.append(note("classes-without-pixels", text, len(empty), empty))
    if len(held["train"]) - len(empty) > MANY:
        count = len(held["train"]) - len(empty)
        text = f"The masks hold {count} classes: are they grey values, or edges that were smoothed?"
        cure = "If so, save masks as class ids, resized by nearest neighbour only."
        found.append(warning("many-classes", text, cure, count, []))
    if shared:
        text = f"{len(shared):,} masks stand in several rows: {listed(list(shared), _NAMED)}."
        cure = "Check that each row names its own mask."
        found.append(warning("shared-masks", text, cure, len(shared), shared))
    return found
