"""The client's methods about workers."""

from collections.abc import Iterator
from urllib.parse import quote

from luthier.service.client.connection import Connection
from luthier.service.schemas import Page, WorkerView


class FleetMethods(Connection):
    """The methods about workers; `Client` has them."""

    def workers(self) -> Iterator[WorkerView]:
        """Yield the workers of the last day."""
        return self._transport.pages(Page[WorkerView], "/v1/workers")

    def release_worker(self, name: str) -> WorkerView:
        """End a worker's quarantine now, and forget what it failed at.

        Raises:
            ServiceError: 404 for an unknown worker, 409 where it is in no quarantine.
        """
        return self._transport.model(WorkerView, "POST", f"/v1/workers/{quote(name, safe='')}/release")
