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

    # Between looks at the speeds of workers, of which each needs several trials to be judged.
    speeds_seconds: float = 60.0

    # Between looks for files that no row names, which are removed a lease (a minute at least) after the first.
    orphans_seconds: float = 30.0

    # Between looks for events that another service brought, and for lines of logs, while a stream is open.
    event_look_seconds: float = 0.5

    # Then a stream of events ends, and its client comes again with its token or login: no stream outlives them by more.
    event_stream_seconds: float = 600.0

    # How long a service believes what it has read of a token: one that another service has revoked opens so long.
    token_seconds: float = 1.0

    # Between writes of when tokens were used; of each token at most once a minute.
    token_use_seconds: float = 2.0

    # A service must stop within 10 s, since `docker stop` kills it then. First its workers have so long to give their
    # trials back, while it still answers them; a worker takes 5 s at most.
    fleet_stop_seconds: float = 6.0

    # Then requests under way (transfers of files; those that wait have been answered) have the rest of so many seconds
    # since the stop began, but at least one.
    request_stop_seconds: int = 8

    # Then the background threads, all together, may finish their rounds; a thread within a long copy dies with the
    # process, and the next service does the round again.
    thread_stop_seconds: float = 1.0

    # How long a connection without a request stays open: longer than a worker's pause between two messages.
    keep_alive_seconds: int = 75

    # Between looks at a connection. Then: for the head of a request to arrive, and over which bytes are counted of a
    # body on its way (Apache waits as long) and of an answer.
    connection_look_seconds: float = 2.0
    head_seconds: float = 15.0
    body_seconds: float = 20.0
    answer_seconds: float = 60.0

    # For the rest of a body that was answered before its end (413, say), so that its client reads the answer.
    linger_seconds: float = 5.0

    # For an embedded service to stop in all, after its fleet: requests, then threads.
    embedded_stop_seconds: float = 15.0

    def reaper_interval(self, lease_seconds: float) -> float:
        """Return the seconds between two looks for expired leases."""
        return min(self.reaper_seconds, lease_seconds / 3)


DEFAULT = Timings()
