"""The intervals and deadlines of a running service, each with its unit and its reason.

`create_app`, `serve` and `Embedded` take them as an argument, so that tests give their own. The settings of users are
in `Settings`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Timings:
    """Intervals and deadlines in seconds."""

    # Between looks for due times and for notifications to send. Cron counts in minutes: a run starts a second late.
    scheduler_seconds: float = 1.0

    # Between looks for expired leases, at most; three looks fit into a shorter lease.
    reaper_seconds: float = 1.0

    # Between looks for files that no row names, which are removed a lease (a minute at least) after the first.
    orphans_seconds: float = 30.0

    # For a background thread to finish its round when the service stops; a thread within a long copy dies
    # with the process, and the next service does the round again.
    thread_stop_seconds: float = 10.0

    # For workers to give their trials back when the service stops, while it still answers them.
    fleet_stop_seconds: float = 8.0

    # For requests under way when the service stops (uvicorn's, whole seconds).
    request_stop_seconds: int = 10

    # How long a connection without a request stays open: longer than a worker's pause between two messages.
    keep_alive_seconds: int = 75

    # For an embedded service to stop in all, after its fleet: requests, then threads.
    embedded_stop_seconds: float = 15.0

    def reaper_interval(self, lease_seconds: float) -> float:
        """Return the seconds between two looks for expired leases."""
        return min(self.reaper_seconds, lease_seconds / 3)


DEFAULT = Timings()
