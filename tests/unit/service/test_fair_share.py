"""Fair shares, simulated: workers that take trials in the order of `fair_share.in_order`, by the thousand."""

import heapq
import random
from collections import defaultdict
from dataclasses import dataclass, field

import pytest

from luthier.service.dispatch.fair_share import Candidate, Flow, held_back, in_order, owed_change


@dataclass
class Study:
    """A study of the simulation.

    Attributes:
        project: its name.
        flow: its weight and priority, and what it was charged with.
        seconds: of its trials, on average.
        guess: what is expected of each, over what it takes.
        parallel: trials that may run at once.
        begins, ends: when it has work.
    """

    project: str = "p"
    flow: Flow = field(default_factory=Flow)
    seconds: float = 10.0
    guess: float = 1.0
    parallel: int = 1_000
    begins: float = 0.0
    ends: float = float("inf")
    running: int = 0
    served_at: float = 0.0


class Fleet:
    """Workers that hand themselves the trials of some studies, in simulated time."""

    def __init__(self, studies: list[Study], projects: dict[str, Flow] | None = None, workers: int = 8) -> None:
        self.studies, self.workers = studies, workers
        self.projects = {study.project: Flow() for study in studies} | (projects or {})
        self.owed, self.now = 0.0, 0.0
        self.used: defaultdict[int, float] = defaultdict(float)
        self.longest_wait: defaultdict[int, float] = defaultdict(float)
        self.random = random.Random(7)
        self.claims = 0
        self.turns: dict[str, float] = {}

    def run(self, until: float) -> None:
        """Let time pass; every worker that is free takes the next trial."""
        ends: list[tuple[float, int, float, float]] = []
        free = self.workers
        while self.now < until:
            while free and self._claim(ends):
                free -= 1
            if not ends:
                return
            self.now, i, took, expected = heapq.heappop(ends)
            free += 1
            study = self.studies[i]
            study.running -= 1
            self.used[i] += took
            study.flow = study.flow.corrected(took - expected)
            self.projects[study.project] = self.projects[study.project].corrected(took - expected)

    def _claim(self, ends: list[tuple[float, int, float, float]]) -> bool:
        candidates = [self._candidate(i) for i, study in enumerate(self.studies) if self._is_ready(study)]
        if not candidates:
            return False
        first = in_order(candidates, self.owed, self.turns)[0]
        i, study = first.study_id, self.studies[first.study_id]
        took = self.random.expovariate(1 / study.seconds)
        expected = study.seconds * study.guess
        held = held_back(candidates)
        self.owed += owed_change(i, held, expected)
        if first in held:
            self.turns[study.project] = float(self.claims)
        clock = max(
            other.flow.virtual_start
            for other in self.studies
            if (other.project, other.flow.priority) == (study.project, study.flow.priority)
        )
        study.flow = study.flow.charged(clock, expected, study.running)
        project = self.projects[study.project]
        clock = max(flow.virtual_start for flow in self.projects.values() if flow.priority == project.priority)
        running = sum(other.running for other in self.studies if other.project == study.project)
        self.projects[study.project] = project.charged(clock, expected, running)
        self.longest_wait[i] = max(self.longest_wait[i], self.now - max(study.served_at, study.begins))
        study.served_at = self.now
        study.running += 1
        self.claims += 1
        heapq.heappush(ends, (self.now + took, i, took, expected))
        return True

    def _is_ready(self, study: Study) -> bool:
        return study.begins <= self.now < study.ends and study.running < study.parallel

    def _candidate(self, i: int) -> Candidate:
        study = self.studies[i]
        return Candidate(i, study.project, self.projects[study.project], study.flow, study.served_at)

    def shares(self) -> list[float]:
        """The part of all GPU seconds that each study got."""
        return [self.used[i] / sum(self.used.values()) for i in range(len(self.studies))]


def weighted(*weights: float, **columns: float) -> list[Study]:
    return [Study(flow=Flow(weight=weight), **columns) for weight in weights]  # type: ignore[arg-type]


def test_one_study_gets_all() -> None:
    fleet = Fleet(weighted(5))
    fleet.run(500)
    assert fleet.shares() == [1.0]


@pytest.mark.parametrize("guesses", [(1.0, 1.0, 1.0), (5.0, 0.2, 1.0)])
def test_shares_follow_weights_however_long_trials_are_and_whatever_is_expected(guesses: tuple[float, ...]) -> None:
    studies = weighted(3, 1, 4)
    for study, seconds, guess in zip(studies, (2.0, 50.0, 8.0), guesses, strict=True):
        study.seconds, study.guess = seconds, guess
    fleet = Fleet(studies)
    fleet.run(8_000)
    assert fleet.claims > 5_000
    assert fleet.shares() == pytest.approx([3 / 8, 1 / 8, 4 / 8], rel=0.05)


def test_projects_share_before_their_studies_do() -> None:
    """Ten studies of one project together get what its weight says, and share that by their own weights."""
    many = [Study("many", Flow(weight=1 + i % 2)) for i in range(10)]
    fleet = Fleet([Study("one", Flow(weight=0.5)), *many], {"one": Flow(weight=3), "many": Flow(weight=1)})
    fleet.run(6_000)
    one, *others = fleet.shares()
    assert one == pytest.approx(0.75, rel=0.05)
    assert sum(others[1::2]) == pytest.approx(2 * sum(others[::2]), rel=0.1)


def test_a_study_that_comes_back_gets_no_more_than_its_share() -> None:
    """Nor is one that ran alone for long paid back by waiting."""
    first, second = weighted(1, 1)
    second.begins = 3_000.0
    fleet = Fleet([first, second])
    fleet.run(3_000)
    before = fleet.used[0]
    assert before > 20_000
    fleet.run(3_400)
    assert fleet.used[1] == pytest.approx(fleet.used[0] - before, rel=0.2)
    first.begins, first.ends = 6_000.0, float("inf")  # it pauses, and the other has all
    fleet.run(6_000)
    halfway = (fleet.used[0], fleet.used[1])
    fleet.run(6_400)
    assert fleet.used[0] - halfway[0] == pytest.approx(fleet.used[1] - halfway[1], rel=0.2)


def test_a_study_that_cannot_use_its_share_saves_nothing_up() -> None:
    narrow, wide = weighted(1, 1)
    narrow.parallel = 1
    fleet = Fleet([narrow, wide])
    fleet.run(4_000)
    assert fleet.shares()[0] == pytest.approx(1 / 8, rel=0.1), "all that one trial at a time can use"
    narrow.parallel = 1_000
    before = (fleet.used[0], fleet.used[1])
    fleet.run(4_400)
    assert fleet.used[0] - before[0] == pytest.approx(fleet.used[1] - before[1], rel=0.25)


def test_a_higher_priority_goes_first_and_nobody_starves() -> None:
    high = [Study(flow=Flow(priority=5)), Study(flow=Flow(priority=5, weight=2))]
    low = [Study(flow=Flow(priority=priority)) for priority in (0, 0, -3)]
    fleet = Fleet([*high, *low])
    fleet.run(6_000)
    shares = fleet.shares()
    assert sum(shares[2:]) == pytest.approx(0.05, rel=0.25)
    assert shares[1] == pytest.approx(2 * shares[0], rel=0.1)
    assert min(shares[2:]) > 0.01
    # Three wait for a twentieth of 8 workers: each has a trial of 10 s in turn, about every 75 s.
    assert max(fleet.longest_wait[i] for i in (2, 3, 4)) < 300


def test_what_lower_priorities_are_owed_goes_round_among_projects() -> None:
    """Many studies get their project no more of it, nor do those that a high project holds back itself."""
    high = [Study("high"), *(Study("high", Flow(priority=-1)) for _ in range(20))]
    many = [Study("many") for _ in range(20)]
    fleet = Fleet([*high, *many, Study("low")], {"high": Flow(priority=1), "many": Flow(), "low": Flow()})
    fleet.run(6_000)
    first, *others = fleet.shares()
    assert first == pytest.approx(0.95, rel=0.02)
    assert (sum(others[:20]), sum(others[20:40]), others[40]) == pytest.approx([0.05 / 3] * 3, rel=0.25)


def test_a_priority_of_a_study_is_one_within_its_project() -> None:
    fleet = Fleet([Study("a", Flow(priority=100)), Study("b", Flow())])
    fleet.run(2_000)
    assert fleet.shares() == pytest.approx([0.5, 0.5], rel=0.05)
    fleet = Fleet([Study("a", Flow(priority=100)), Study("b", Flow())], {"b": Flow(priority=1)})
    fleet.run(2_000)
    assert fleet.shares()[1] == pytest.approx(0.95, rel=0.03)


def test_waiting_is_bounded_among_many_of_one_priority() -> None:
    studies = weighted(*([1] * 30), 10)
    fleet = Fleet(studies)
    fleet.run(2_000)
    assert all(fleet.used[i] for i in range(31))
    # A round is 40 trials' worth of 10 s on 8 workers: 50 s. A trial that took 60 s is paid for with six rounds.
    assert max(fleet.longest_wait.values()) < 400
