"""Workers of other versions: those that would misunderstand are refused with the cure, others served and told of."""

from luthier import __version__
from luthier.studies.protocol import AssignmentKind
from luthier.studies.versions import OLDEST_PROTOCOL, PROTOCOL
from tests.support.harness import Running, ScriptedWorker, problem
from tests.support.sick import listed


def test_another_protocol_is_refused_and_the_worker_is_not_listed(house: Running, worker: ScriptedWorker) -> None:
    house.create()
    for protocol in (PROTOCOL + 1, OLDEST_PROTOCOL - 1):
        claim = {"worker": "stranger", "version": "9.9.9", "protocol": protocol}
        refused = problem(worker.client.post("/v1/worker/claim", json=claim), 409)
        assert refused["title"] == "Another version"
        for part in ("Luthier 9.9.9", f"version {protocol} of", f"pip install luthier=={__version__}"):
            assert part in refused["detail"]
    assert house.get("/v1/workers")["items"] == []
    problem(worker.client.post("/v1/worker/claim", json={"worker": "w1", "protocol": -1}), 422)
    worker.about = {"protocol": PROTOCOL}
    worker.inspect(worker.take(AssignmentKind.INSPECT))


def test_a_worker_that_says_no_protocol_is_served(house: Running, worker: ScriptedWorker) -> None:
    """As those of the version before."""
    house.create()
    assert worker.claim() is not None
    assert listed(house)["notes"] == []


def test_versions_that_differ_are_told(house: Running, worker: ScriptedWorker) -> None:
    fleet = [worker, house.worker("w2"), house.worker("w3")]
    for n, each in enumerate(fleet):
        libraries = {"torch": "2.5.0" if n else "2.4.1", "transformers": "5.0"}
        each.about = {"version": __version__ if n else "0.0.1", "libraries": libraries, "host": "box"}
        assert each.claim() is None
    seen = listed(house)
    assert (seen["libraries"], seen["host"], seen["version"]) == (fleet[0].about["libraries"], "box", "0.0.1")
    older, other = seen["notes"]
    assert __version__ in older
    assert "torch 2.4.1 (others have 2.5.0)" in other
    assert listed(house, "w2")["notes"] == []
    page = house.client.get("/workers").text
    assert "torch 2.4.1" in page
