"""The facts about a trial that the prefix cache needs: its model, how to run it, where to log.

The training engine makes one for each trial. It holds no activations.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch

from luthier.studies.results import Batching
from luthier.trials.data.encoded import Encoded
from luthier.trials.model.backbone import Backbone
from luthier.trials.prefix.axes import BATCH, TOKENS, Inputs, axis_size
from luthier.trials.prefix.probe import Forward, Outputs, Probe, Probes
from luthier.trials.prefix.rows import split_lengths

Collate = Callable[[Encoded, Sequence[int]], Inputs]  # the inputs of some examples, on the model's device
Counted = Callable[[Outputs, Encoded, Sequence[int]], torch.Tensor]  # the part of some examples' outputs that counts
MORE_ROWS = 4  # rows of a further batch: neither three nor five

RunHalving = Callable[[Callable[[int], None], int], None]  # run(compute, rows), which calls compute(size)


@dataclass(frozen=True)
class PrefixContext:
    """The model of a trial, and the functions that run it.

    Attributes:
        key: Identifies the model's files, the data, the preprocessing and the precision.
        backbone: The model's blocks.
        forward: Computes the model's outputs, in the trial's precision.
        collate: Makes a batch of some examples.
        counted: Picks the part of a batch's outputs that loss and scores depend on, by which computations are compared.
        run_halving: Calls a function with a number of examples, at first those given, and with half as many each time
            memory does not suffice.
        tick: Called between batches; raises Ended when the trial is to end.
        log: Adds a line to the trial's log.
        exact: Computes the model's outputs in float32, to compare computations.
    """

    key: Hashable
    backbone: Backbone
    forward: Forward
    collate: Collate
    counted: Counted
    run_halving: RunHalving
    tick: Callable[[], None]
    log: Callable[[str], None]
    exact: Forward

    def probes(self, encoded: Encoded) -> Probes:
        """Return batches of three, five and eight examples of a split.

        Where inputs are padded, the parts are padded to different lengths. Where all have one length, the first part is
        the shortest example three times. Where inputs have more than one length there are more batches if need be.
        """
        probes = self._equal_probes(encoded) if encoded.batching is Batching.EQUAL else self._padded_probes(encoded)
        return replace(probes, sizes=self._distinct(encoded, probes.sizes))

    def _padded_probes(self, encoded: Encoded) -> Probes:
        """Return batches of three, five and eight examples, of which the first is padded less than the second."""
        order = sorted(range(len(encoded)), key=lambda i: encoded.lengths[i])
        last = len(order) - 1
        few = [order[0], order[last // 4], order[last // 2]]
        many = [order[last // 3], order[2 * last // 3], order[3 * last // 4], order[max(0, last - 1)], order[last]]
        first, second, whole = (self._probe(encoded, rows) for rows in (few, many, few + many))
        if axis_size(TOKENS, first.inputs) == axis_size(TOKENS, second.inputs):
            first = self._probe(encoded, [order[0]] * 3)
            whole = self._probe(encoded, [order[0]] * 3 + many)
        return Probes((first, second), (first, second), whole)

    def _equal_probes(self, encoded: Encoded) -> Probes:
        """Return batches without padding: the parts have the most frequent length, and one size one far from it."""
        lengths = list(zip(*split_lengths(encoded).values(), strict=True))
        counts = Counter(lengths)
        common = max(counts, key=lambda length: (counts[length], length))
        same = [i for i, length in enumerate(lengths) if length == common]
        rows = [same[i % len(same)] for i in range(8)]
        few, many = self._probe(encoded, rows[:3]), self._probe(encoded, rows[3:])
        farthest = max(
            range(len(lengths)), key=lambda i: sum(abs(a - b) for a, b in zip(lengths[i], common, strict=True))
        )
        other = few if lengths[farthest] == common else self._probe(encoded, [farthest] * 3)
        return Probes((other, many), (few, many), self._probe(encoded, rows))

    def _distinct(self, encoded: Encoded, probes: tuple[Probe, ...]) -> tuple[Probe, ...]:
        """Return the batches, and as many more as show every axis of the inputs by sizes of its own.

        One axis needs no more than the two batches. Two may have the same sizes in both, or one of them one size.
        """
        varying = {axis: own for axis, own in split_lengths(encoded).items() if len(set(own)) > 1}
        if not encoded.further_lengths and not encoded.inner_lengths:
            return probes
        places = range(len(encoded))
        rows = [pick(places, key=own.__getitem__) for own in varying.values() for pick in (min, max)]
        rows += [
            max(places, key=lambda i, a=one, b=other: abs(a[i] - b[i]))  # type: ignore[misc]
            for one, other in combinations(varying.values(), 2)
        ]
        for row in rows:
            sizes = [tuple(axis_size(axis, probe.inputs) for probe in probes) for axis in (BATCH, *varying)]
            if len(set(sizes)) == len(sizes) and all(len(set(own)) > 1 for own in sizes):
                break
            probes = (*probes, self._probe(encoded, [row] * MORE_ROWS))
        return probes

    def _probe(self, encoded: Encoded, rows: Sequence[int]) -> Probe:
        lengths = [encoded.lengths[i] for i in rows]
        further = {axis: [own[i] for i in rows] for axis, own in split_lengths(encoded).items() if axis != TOKENS}
        return Probe(
            self.collate(encoded, rows), lengths, lambda outputs: self.counted(outputs, encoded, rows), further
        )
