"""The part of a GPU that an assignment reserves: chosen by placement, stored by `Leases`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reservation:
    """The part of a GPU that belongs to an assignment while it runs.

    Attributes:
        gpu: id of the GPU; None for a worker without one.
        share: share of the GPU's usable memory, above 0 and at most 1; None where nothing is reserved.
        bytes: that share in bytes; None where the size of the GPU is not known.
        seconds: that the attempt is expected to take; None where it is charged with nothing in advance.
    """

    gpu: str | None
    share: float | None = None
    bytes: int | None = None
    seconds: float | None = None

    @property
    def gpu_seconds(self) -> float | None:
        """The GPU seconds that the attempt is expected to use; a worker without a GPU counts as one."""
        if self.seconds is None:
            return None
        return self.seconds * (1.0 if self.share is None else self.share)
