"""People who try to get more of the workers than their share: by schedules, by predictions, by many studies."""

from datetime import datetime
from pathlib import Path

from luthier.service.server.app import Tokens
from luthier.studies.protocol import AssignmentKind
from tests.support.harness import running
from tests.support.nightly import schedule
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
