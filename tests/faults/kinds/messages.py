"""Messages between workers and service get lost, late, doubled or cut; the proxy does it."""

from tests.faults.arena import Arena
from tests.faults.kinds.registry import ALL_WORKERS, fault
from tests.faults.proxy import Harm
from tests.faults.service import LEASE_SECONDS

PATIENCE_SECONDS = 30.0
OFTEN = 8  # messages are many, and each harm takes little time
ROUTES = ("", "claim", "report", "finish")


def harm(arena: Arena, kind: str, seconds: float = 0.0, route: str | None = None) -> None:
    """Harm the next message of some worker, and return once it happened."""
    asked = Harm(kind, seconds, arena.chance.choice(ROUTES) if route is None else route)
    proxy = arena.chance.choice(arena.proxies)
    proxy.arm(asked)
    waited = 0.0
    while not asked.met.wait(0.2):
        arena.busy()
        waited += 0.2
        assert waited < PATIENCE_SECONDS, f"no message came that could be harmed: {asked}"


@fault("a request is lost", workers=ALL_WORKERS, weight=OFTEN)
def lose_request(arena: Arena) -> None:
    """The service never sees it; the connection ends."""
    harm(arena, "drop request")


@fault("an answer is lost", workers=ALL_WORKERS, weight=OFTEN)
def lose_answer(arena: Arena) -> None:
    """The service has done what it was asked, and its client does not know."""
    harm(arena, "drop answer")


@fault("a message is late", weight=OFTEN)
def delay(arena: Arena) -> None:
    """Within a lease."""
    harm(arena, arena.chance.choice(("delay request", "delay answer")), arena.chance.uniform(0.1, 1.0))


@fault("a message is later than a lease")
def delay_past_lease(arena: Arena) -> None:
    """Its sender holds nothing any more when it arrives."""
    harm(arena, arena.chance.choice(("delay request", "delay answer")), LEASE_SECONDS + arena.chance.uniform(0.5, 1.5))


@fault("a message comes twice at once", weight=OFTEN)
def double(arena: Arena) -> None:
    """Two requests of the same bytes are worked on at the same moment."""
    harm(arena, "double")


@fault("a message comes again later", weight=OFTEN)
def repeat(arena: Arena) -> None:
    """As from a proxy that sends again what it has queued."""
    harm(arena, "repeat later", arena.chance.uniform(0.1, LEASE_SECONDS + 1))


@fault("a request is cut in half", weight=OFTEN)
def cut_request(arena: Arena) -> None:
    """Its head says more bytes than come."""
    harm(arena, "cut request")


@fault("an answer is cut in half", weight=OFTEN)
def cut_answer(arena: Arena) -> None:
    """The client has seen the beginning."""
    harm(arena, "cut answer")
