"""A trial's frozen prefix: the model's outputs for examples, from their stored activations.

The prefix cache opens it, the training engine asks it for outputs. It computes nothing below the cut.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from luthier.trials.data.encoded import Encoded
from luthier.trials.memory import out_of_memory
from luthier.trials.prefix.axes import Inputs
from luthier.trials.prefix.context import Collate, PrefixContext
from luthier.trials.prefix.cut import Cut, capture
from luthier.trials.prefix.probe import PER_TOKEN, Forward, Outputs
from luthier.trials.prefix.rows import ActivationRows, split_lengths


@dataclass(frozen=True)
class CutPlan:
    """The plan by which forwards of a split start at the cut.

    Attributes:
        cut: The cut.
        ignores_inputs: True if the values of the model's inputs play no part above the cut.
    """

    cut: Cut
    ignores_inputs: bool


class TrialPrefix:
    """The frozen prefix of a trial, over its splits.

    Args:
        parts: The plan and the stored rows of each split, by the id of its Encoded, which must stay alive.
    """

    def __init__(self, parts: Mapping[int, tuple[CutPlan, ActivationRows]]) -> None:
        self._parts = parts
        self._repeated: dict[tuple[int, int], Inputs] = {}  # by the Encoded's id and the batch's size

    def covers(self, encoded: Encoded) -> bool:
        """Return whether a split's activations are stored."""
        return id(encoded) in self._parts

    def outputs(self, forward: Forward, collate: Collate, encoded: Encoded, rows: Sequence[int]) -> Outputs:
        """Return the model's outputs for some examples, computed from their stored activations.

        Args:
            forward: Computes the model's outputs.
            collate: Makes the inputs of some examples.
            encoded: The split.
            rows: The examples' numbers in the split.
        """
        plan, stored = self._parts[id(encoded)]
        if plan.ignores_inputs:
            key = (id(encoded), len(rows))
            inputs = self._repeated[key] = self._repeated.get(key) or repeated_inputs(collate, encoded, len(rows))
        else:
            inputs = collate(encoded, rows)
        with plan.cut.injecting(stored.values(rows, inputs), inputs):
            return forward(inputs)

    def close(self) -> None:
        """Close the files of the stored rows."""
        for _, rows in self._parts.values():
            rows.close()


def repeated_inputs(collate: Collate, encoded: Encoded, count: int) -> Inputs:
    """Return a batch of `count` times the first example, for a model that ignores the values of its inputs."""
    one = collate(encoded, [0])
    return {name: value.expand(count, *value.shape[1:]) for name, value in one.items()}


def ignores_inputs(context: PrefixContext, cut: Cut, encoded: Encoded) -> bool:
    """Return whether the inputs' values play no part above the cut, so that images need not be prepared again.

    The logits of a probe are compared with those from the same activations and the first example's inputs.
    """
    lengths = split_lengths(encoded)
    if any(f.kind == PER_TOKEN and f.axis is not None and len(set(lengths[f.axis])) > 1 for f in cut.fields):
        return False
    if any(len(set(own)) > 1 for own in encoded.further_lengths.values()):
        return False
    masked = any("mask" in name for name in (*encoded.columns, *encoded.padding))
    if masked and "input_ids" not in encoded.columns:  # sounds or images of one size, differently masked
        return False
    probe = context.probes(encoded).whole
    with torch.no_grad():
        expected = probe.logits(context.exact)
        values = capture(cut, context.exact, probe.inputs)
        try:
            inputs = repeated_inputs(context.collate, encoded, len(probe.lengths))
            rows = [f.to_rows(value, probe.axes) for f, value in zip(cut.fields, values, strict=True)]
            values = [f.from_rows(stored, probe.axes, inputs) for f, stored in zip(cut.fields, rows, strict=True)]
            with cut.injecting(values, inputs):
                logits = probe.select(context.exact(inputs))
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            return False
    return probe.is_close(logits, expected)
