"""The client's methods about the disk: what it is used for, and what goes."""

from collections.abc import Sequence
from typing import Any

from luthier.service.client.connection import Connection
from luthier.service.schemas.usage import PruneView, UsageView


class UsageMethods(Connection):
    """The methods about the disk; `Client` has them."""

    def usage(self, limit: int = 100) -> UsageView:
        """Return what the service's disk is used for: by study, data set and schedule, the largest first.

        Args:
            limit: studies that are listed, at most 10,000.
        """
        return self._transport.model(UsageView, "GET", "/v1/usage", params={"limit": limit})

    def prune(
        self,
        kinds: Sequence[str] | None = None,
        older_than_seconds: float = 0.0,
        studies: Sequence[str] | None = None,
        keep_winners: bool = True,
        dry_run: bool = True,
    ) -> PruneView:
        """Remove what has ended and nobody needs any more; by default only say what that would be.

        Args:
            kinds: some of weights, logs, predictions, onnx, datasets and studies; None for all but whole studies.
            older_than_seconds: only of studies that ended so long ago, and data sets that were uploaded so long ago.
            studies: only of these, and no data set; None for all.
            keep_winners: the winners' weights stay, and whole studies that have a packed winner.
            dry_run: remove nothing.

        Raises:
            ServiceError: 404 for a study that is not there, 422 for an unknown kind.
        """
        wish: dict[str, Any] = {"older_than_seconds": older_than_seconds, "keep_winners": keep_winners}
        wish |= {} if kinds is None else {"kinds": list(kinds)}
        wish |= {} if studies is None else {"studies": list(studies)}
        return self._transport.model(PruneView, "POST", "/v1/prune", json=wish | {"dry_run": dry_run})
