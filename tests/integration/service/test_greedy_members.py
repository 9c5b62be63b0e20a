"""People who try to get more of the workers than their share: by schedules, by predictions, by many studies."""

from datetime import datetime
from pathlib import Path

import pytest

from luthier.service.server.app import Tokens
from luthier.service.storage import shares
from luthier.studies.protocol import AssignmentKind
from tests.support.harness import Running, running, spec
from tests.support.nightly import schedule
from tests.support.projects import make_projects, working_in
from tests.support.tokens import USER, ask, made


def test_runs_of_a_schedule_count_as_those_of_who_made_it(tmp_path: Path) -> None:
    with running(tmp_path / "home", None, Tokens(USER, None)) as house:
        secret = made(house, "ann", scopes=["write"], project="p", max_parallel=1)["secret"]
        answer = ask(house, "POST", "/v1/schedules", secret, json=schedule())
        assert answer.status_code == 201, answer.text
        house.tick(datetime.fromisoformat(answer.json()["next"][0]).timestamp())
        workers = [house.worker(f"w{i}") for i in range(3)]
        workers[0].work(workers[0].take(AssignmentKind.INSPECT))
        house.tick(datetime.fromisoformat(answer.json()["next"][0]).timestamp())
        assert [worker.claim() is not None for worker in workers] == [True, False, False]
        (study,) = ask(house, "GET", "/v1/studies", secret).json()["items"]
        assert study["counts"]["running"] == 1


@pytest.mark.full
@pytest.mark.parametrize("flood", ["predictions", "studies"])
def test_a_flood_of_one_project_stops_no_work_of_another(house_sqlite: Running, flood: str) -> None:
    house = house_sqlite
    make_projects(house, f"greedy-{flood}", f"quiet-{flood}")
    one = house.worker()
    with working_in(house, f"greedy-{flood}"):
        house.finished(budget={"trials": 1})
        for i in range(9):
            if flood == "studies":
                house.create(f"more-{i}")
            else:
                table = {"content": b"text\na\n", "headers": {"Content-Type": "text/csv"}}
                assert house.client.post("/v1/studies/s1/predict", **table).status_code == 202
    with working_in(house, f"quiet-{flood}"):
        house.create("mine", budget={"trials": 2}, parallel=1)
    handed = []
    for _ in range(12):
        assignment = one.claim()
        assert assignment is not None
        handed.append((assignment.study, assignment.kind.value))
        one.work(assignment)
    of_quiet = [(i, kind) for i, (study, kind) in enumerate(handed) if study == "mine"]
    assert [kind for _, kind in of_quiet] == ["inspect", "train", "train"], handed
    assert [i for i, _ in of_quiet] == ([3, 4, 9] if flood == "studies" else [0, 4, 9]), handed


def test_what_low_priorities_are_owed_goes_to_each_project_in_turn(tmp_path: Path) -> None:
    with running(tmp_path / "home", None, Tokens(USER, None)) as house:
        make_projects(house, "high", priority=1)
        make_projects(house, "low")
        one = house.worker()
        for project, name, priority in (("high", "first", 0), ("high", "a", -1), ("high", "b", -1), ("low", "c", 0)):
            with working_in(house, project):
                house.started(one, name, priority=priority, parallel=1, budget={"trials": 50})
        with house.core.database.transaction() as session:
            shares.owe(house.core.database, session, 1e6)
        handed = [one.claim() for _ in range(4)]
        assert [assignment.study for assignment in handed if assignment] == ["a", "c", "b", "first"]


def test_the_limit_of_who_is_shut_out_stays(tmp_path: Path) -> None:
    with running(tmp_path / "home", None, Tokens(USER, None)) as house:
        ann = made(house, "ann", scopes=["write"], project="p", max_parallel=1)
        workers = [house.worker(f"w{i}") for i in range(3)]
        assert ask(house, "POST", "/v1/studies", ann["secret"], json=spec(parallel=3)).status_code == 201
        workers[0].inspect(workers[0].take(AssignmentKind.INSPECT))
        assert house.client.delete(f"/v1/tokens/{ann['id']}").status_code == 204
        assert [worker.claim() is not None for worker in workers] == [True, False, False]
        made(house, "ann", scopes=["write"], project="p")
        assert workers[1].claim() is not None, "another token of the name lifts it"
