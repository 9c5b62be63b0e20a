"""Several trials on one GPU: as many as its memory holds, whoever asks, and at the same moment too."""

import threading
from typing import Any

import pytest

from luthier.service.dispatch.placement import Placement
from luthier.service.lifecycle import study_rows
from luthier.service.storage.tables import AssignmentRow
from luthier.studies.protocol import Assignment, AssignmentKind, Gpu
from tests.support.harness import INSPECTION, Running, ScriptedWorker
from tests.support.several_services import Together, check_exact, create, most_at_once
from tests.support.tiers import a_few

pytestmark = pytest.mark.both_databases

GB = 10**9
A, B = ({"id": f"GPU-{letter}", "total_bytes": 80 * GB} for letter in "ab")
ALIKE = {"learning_rate": {"low": 1e-6, "high": 1e-3, "log": True}, "epochs": 3}  # trials that need the same memory
MANY = {"parallel": 8, "budget": {"trials": 20}}


def started(house: Running, name: str = "s1", estimates: dict[str, Any] | None = None, **changes: Any) -> None:
    """A study that was inspected, on a CPU, and has no estimates but these."""
    house.create(name, **(MANY | {"space": ALIKE} | changes))
    worker = house.worker("inspector")
    found = INSPECTION.model_dump(mode="json") | {"estimates": estimates}
    worker.finish(worker.take(AssignmentKind.INSPECT), inspection=found)


def measured(worker: ScriptedWorker, peak: int) -> Assignment:
    """A trial that ran to its end and took so many bytes at most."""
    a = worker.take()
    worker.report(a, 1, 0.5, peak_memory_bytes=peak)
    worker.finish(a)
    return a


def slots(house: Running, count: int, gpu: dict[str, Any] = A) -> list[ScriptedWorker]:
    """So many workers on one GPU, all known to the service."""
    found = [house.worker(f"{gpu['id'].replace('/', '-')}-{i}", gpu) for i in range(count)]
    for worker in found:
        assert worker.claim() is None
    return found


@pytest.mark.full
def test_trials_share_a_gpu_by_bytes(house: Running) -> None:
    workers = slots(house, 5)
    started(house)
    assert measured(workers[0], 20 * GB).memory_bytes is None, "nothing is known of it, so it has the GPU to itself"
    running = [worker.claim() for worker in workers]
    assert [a is not None for a in running] == [True, True, True, False, False]
    assert {a.memory_bytes for a in running if a} == {24 * GB}, "a fifth more than was measured"
    views = {view["name"]: view for view in house.get("/v1/workers")["items"]}
    assert views["GPU-a-0"]["gpu"] == "GPU-a"
    assert views["GPU-a-0"]["gpu_memory_bytes"] == 80 * GB
    assert [views[worker.name]["reserved_bytes"] for worker in workers] == [24 * GB] * 3 + [None] * 2
    assert house.study()["counts"]["queued"] == 0, "no configuration is drawn before there is room for it"
    workers[0].finish(running[0])
    house.move_clock(4)  # and does not ask again
    assert workers[4].claim() is not None
    assert workers[3].claim() is None


@pytest.mark.full
def test_a_trial_of_unknown_size_has_a_gpu_to_itself_until_it_is_measured(house: Running) -> None:
    first, second, third = slots(house, 3)
    started(house)
    a = first.take()
    assert a.memory_bytes is None
    assert second.claim() is None
    first.report(a, 1, 0.5, peak_memory_bytes=30 * GB)
    assert second.take().memory_bytes == 36 * GB
    assert third.claim() is None, "two of 36 GB and one more do not fit"


def test_an_estimate_serves_until_something_is_measured(house: Running) -> None:
    first, second, third = slots(house, 3)
    started(house, estimates={"seconds_per_trial": 1.0, "memory_bytes": 20 * GB})
    assert [first.take().memory_bytes, second.take().memory_bytes] == [30 * GB] * 2
    assert third.claim() is None


def test_an_estimate_is_that_of_the_batch_size(house: Running) -> None:
    first, second = slots(house, 2)
    sizes = [(8, 8 * GB), (64, 40 * GB)]
    fits = [{"batch_size": n, "fits": True, "micro_batch": n, "memory_bytes": size} for n, size in sizes]
    started(
        house,
        space=ALIKE | {"batch_size": [8, 64]},
        estimates={"seconds_per_trial": 1.0, "memory_bytes": GB, "batch_sizes": fits},
    )
    for batch in (64, 8):
        params = {"learning_rate": 1e-4, "batch_size": batch}
        assert house.client.post("/v1/studies/s1/trials", json={"params": params}).status_code == 201
    cpu = house.worker("cpu")
    cpu.finish(cpu.take())  # the baseline
    found = [first.take(), second.take()]
    assert [(a.params["batch_size"], a.memory_bytes) for a in found] == [(64, 60 * GB), (8, 12 * GB)]


def test_the_spec_may_say_how_much_of_a_gpu_a_trial_takes(house: Running) -> None:
    """Also where nobody can tell the GPU's memory."""
    for name, gpu in (("s1", A), ("s2", {"id": "box/0"})):
        workers = slots(house, 5, gpu)
        started(house, name, resources={"gpus": 0.25})
        claims = [worker.claim() for worker in workers]
        assert [a is not None for a in claims] == [True] * 4 + [False]
        assert {a.memory_bytes for a in claims if a} == ({int(0.25 * (76 * GB - 5 * 2**29))} if gpu is A else {None})
        house.client.post(f"/v1/studies/{name}/cancel")
        house.move_clock(4)  # the workers of this GPU do not wait any more


def test_what_a_trial_needs_is_judged_by_trials_that_need_no_less(house: Running) -> None:
    """One that finds no room waits, and others go."""
    first, second, third = slots(house, 3)
    space = ALIKE | {"batch_size": [8, 32], "freeze_depth": {"low": 0, "high": "auto"}}
    started(house, space=space)

    def enqueue(batch: int, depth: int, rate: float) -> None:
        params = {"learning_rate": rate, "batch_size": batch, "freeze_depth": depth}
        response = house.client.post("/v1/studies/s1/trials", json={"params": params})
        assert response.status_code == 201, response.text

    assert measured(first, 40 * GB).params["batch_size"] == 32  # the baseline, at depth 0
    for batch, depth, peak in ((8, 0, 12 * GB), (32, 6, 5 * GB)):
        enqueue(batch, depth, 1e-4)
        assert measured(first, peak).params["freeze_depth"] == depth
    for batch, depth in ((32, 0), (32, 5), (8, 2), (8, 6)):
        enqueue(batch, depth, 2e-4)
    assert first.take().memory_bytes == 48 * GB
    found = second.take()
    assert (found.params["batch_size"], found.params["freeze_depth"], found.memory_bytes) == (8, 2, int(14.4 * GB))
    found = third.take()
    assert (found.params["batch_size"], found.params["freeze_depth"], found.memory_bytes) == (8, 6, 6 * GB)
    waiting = [trial for trial in house.trials() if trial["state"] == "queued"]
    assert waiting[0]["params"]["freeze_depth"] == 5


def test_another_studys_small_trial_takes_what_is_left(house: Running) -> None:
    workers = slots(house, 4)
    started(house)
    measured(workers[0], 50 * GB)
    found = [workers[0].take()]
    started(house, "s2", estimates={"seconds_per_trial": 1.0, "memory_bytes": 2 * GB})
    found += [worker.take() for worker in workers[1:]]
    assert [(a.study, a.memory_bytes) for a in found] == [("s1", 60 * GB)] + [("s2", 3 * GB)] * 3


def test_a_gpu_with_nothing_to_do_goes_first(house: Running) -> None:
    started(house, resources={"gpus": 0.25})
    first, second = house.worker("a1", A), house.worker("a2", A)
    other = house.worker("b1", B)
    a = first.take()
    other.finish(other.take(), "released")
    assert second.claim() is None, "the other GPU's worker waits, and nothing runs there"
    other.take()
    assert second.claim() is not None
    first.finish(a, "released")
    house.move_clock(4)  # whoever waits would have asked again
    assert house.worker("a3", A).claim() is not None


def test_a_worker_that_holds_the_study_in_memory_goes_first(house: Running) -> None:
    first, second = slots(house, 2)
    elsewhere = house.worker("b1", B)
    started(house, parallel=3, resources={"gpus": 0.25})
    first.finish(first.take())
    assert second.claim() is None, "the first one will ask again at once"
    assert elsewhere.claim() is None, "the first one will ask again at once"
    a = first.take()
    elsewhere.finish(elsewhere.take())  # on a GPU of its own rather than beside the first
    b = elsewhere.take()
    assert second.claim() is not None, "whoever knows the study has something to do"
    first.finish(a)
    elsewhere.finish(b)
    house.move_clock(4)
    assert house.worker("a3", A).claim() is not None, "who knows it is away"


def test_workers_without_a_gpu_run_one_trial_each(house: Running) -> None:
    started(house, resources={"gpus": 1.0})
    taken = [house.worker(f"cpu-{i}").take() for i in range(3)]
    assert len({a.id for a in taken}) == 3
    assert {a.memory_bytes for a in taken} == {None}


def test_an_inspection_does_not_wait_for_room(house: Running) -> None:
    first, second = slots(house, 2)
    started(house)
    first.take()
    house.create("s2", space=ALIKE)
    second.inspect(second.take(AssignmentKind.INSPECT))


@pytest.mark.parametrize("retried", a_few(1, [False, True]))
def test_two_claims_for_the_last_room_at_the_same_moment(house: Running, retried: bool) -> None:
    """New trials, and such as were given back, of six studies whose locks don't keep their claims apart."""
    workers = slots(house, 6)
    for i in range(6):
        started(house, f"s{i}", resources={"gpus": 0.4}, parallel=1)
    if retried:
        elsewhere = house.worker("cpu")
        for a in [elsewhere.take() for _ in range(6)]:
            elsewhere.finish(a, "released")
    barrier, found = threading.Barrier(6), []

    def claim(worker: ScriptedWorker) -> None:
        barrier.wait()
        for _ in range(4):
            found.append((worker, worker.claim()))

    threads = [threading.Thread(target=claim, args=[worker]) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([a for _, a in found if a is not None]) == 2
    assert sum(house.study(f"s{i}")["counts"]["running"] for i in range(6)) == 2


def test_who_is_told_that_there_is_room_keeps_it(house: Running) -> None:
    """Between the answer and its row another transaction asks."""
    started(house, resources={"gpus": 0.6})
    given_back = house.worker("cpu")
    given_back.finish(given_back.take(), "released")
    database, answers = house.core.database, []
    first_knows, second_knows = threading.Event(), threading.Event()

    def place(mine: threading.Event, later: threading.Event | None) -> None:
        with database.transaction() as session:
            study = study_rows.find(session, "s1")
            placement = Placement(database, house.core.presence, "w", Gpu.model_validate(A))
            reservation = placement.reserve(session, study, AssignmentKind.TRAIN, {}, lock=True)
            answers.append(reservation)
            mine.set()
            assert later is None or not later.wait(0.3), "the second transaction was answered during the first"
            if reservation is not None:
                row = session.query(AssignmentRow).filter_by(kind=AssignmentKind.TRAIN).one()
                assert house.core.leases.grant(session, row, "w", reservation) is not None

    first = threading.Thread(target=place, args=[first_knows, second_knows])
    first.start()
    assert first_knows.wait(10)
    place(second_knows, None)
    first.join()
    assert [reservation is not None for reservation in answers] == [True, False]


@pytest.mark.full
def test_eight_workers_on_two_gpus_do_a_budget_exactly(house: Running, database_url: str) -> None:
    """Whoever gives way to another does not wait for ever."""
    create(house.url, budget={"trials": 16}, parallel=8, resources={"gpus": 0.5})
    workers = Together([house.url], threads=8)
    for i, worker in enumerate(workers._workers):
        worker.gpu = (A, B)[i % 2]
    study = workers.run_until_ended(house.url, "s1", seconds=60)
    check_exact(house.url, database_url, study, 16)
    assert 1 < most_at_once(house.url) <= 4


@pytest.mark.parametrize("gpus", [0, -0.5, 1.5, "half"])
def test_a_share_is_above_0_and_at_most_1(house_sqlite: Running, gpus: object) -> None:
    response = house_sqlite.client.post("/v1/studies", json={"name": "s", "resources": {"gpus": gpus}})
    assert response.status_code == 422
    assert "resources.gpus" in {error["path"] for error in response.json()["errors"]}
