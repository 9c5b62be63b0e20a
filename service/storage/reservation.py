"""The part of a GPU that an assignment reserves: chosen by placement, stored by `Leases`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reservation:
    """The part of a GPU that belongs to an assignment while it runs.

    Attributes:
        gpu: id of the GPU; None for a worker without one.
        share: share of the GPU's usable memory, above 0 and at most 1; None where nothing is reserved.
        bytes: that share in bytes; None where the size of the GPU is not known.
    """

    gpu: str | None
    share: float | None = None
    bytes: int | None = None
