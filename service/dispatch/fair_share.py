"""Fair shares: the order in which studies get a worker, and what they are charged with. Pure functions of numbers.

`work_order.py` calls it with what rows say, and a simulation tests it. It is a deficit round robin over GPU seconds, in
the form that needs no rounds: start-time fair queueing (Goyal, Vin and Cheng 1996). A project has its GPU seconds over
its weight, its virtual time; who is behind, goes first. Among the studies of a project it is the same again. Who had
nothing to do meanwhile goes on where the clock is: the latest of all starts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

GUARANTEED = 0.05
"""Lower priorities are owed this share of the GPU seconds that higher ones get while lower ones wait."""


@dataclass(frozen=True)
class Flow:
    """One who shares: a project beside other projects, or a study beside the others of its project.

    Attributes:
        priority: a higher one goes first.
        weight: its share, beside others of its priority; above 0.
        virtual_time: GPU seconds that it was charged with, over its weight.
        virtual_start: that number just before its latest trial was handed out.
    """

    priority: int = 0
    weight: float = 1.0
    virtual_time: float = 0.0
    virtual_start: float = 0.0

    def charged(self, clock: float, gpu_seconds: float, running: int = 0) -> "Flow":
        """Return the flow after a trial was handed out.

        It starts behind the clock by no more than its running trials and this one may turn out to be overcharged, so
        that who had nothing to do, or could not use its share, has saved up no more than a trial.

        Args:
            clock: the latest `virtual_start` of all flows of its priority.
            gpu_seconds: that the trial is expected to use.
            running: how many of its trials run.
        """
        start = max(self.virtual_time, clock - (1 + running) * max(gpu_seconds, 0.0) / self.weight)
        return Flow(self.priority, self.weight, start + gpu_seconds / self.weight, start)

    def corrected(self, gpu_seconds: float) -> "Flow":
        """Return the flow after a trial has ended that used so many GPU seconds more than was expected."""
        return Flow(self.priority, self.weight, self.virtual_time + gpu_seconds / self.weight, self.virtual_start)


@dataclass(frozen=True)
class Candidate:
    """A study that could start a trial now.

    Attributes:
        study_id: the study.
        project: its project's name.
        of_projects: its project, beside the others.
        of_studies: the study, beside the others of its project.
        waits_since: when its latest trial was handed out, or it was created; in seconds.
    """

    study_id: int
    project: str
    of_projects: Flow
    of_studies: Flow
    waits_since: float = 0.0


def in_order(candidates: Sequence[Candidate], owed: float, turns: Mapping[str, float] = {}) -> list[Candidate]:
    """Return the studies in the order in which the next worker is offered to them.

    Args:
        candidates: all studies that could start a trial now.
        owed: GPU seconds that those held back by a priority are owed; above 0 one of them goes first: of the project
            whose turn was longest ago, the one that waits longest.
        turns: project -> when it had such a turn, on any clock; one that had none comes first.
    """

    def rank(candidate: Candidate) -> tuple[float, ...]:
        project, study = candidate.of_projects, candidate.of_studies
        return (-project.priority, project.virtual_time, -study.priority, study.virtual_time, candidate.study_id)

    by_project: dict[str, list[Candidate]] = {}
    for candidate in sorted(candidates, key=rank):
        by_project.setdefault(candidate.project, []).append(candidate)
    order = [candidate for group in by_project.values() for candidate in group]
    waiting = held_back(candidates)
    if owed > 0 and waiting:
        first = min(waiting, key=lambda one: (turns.get(one.project, -inf), one.waits_since, one.study_id))
        order.remove(first)
        order.insert(0, first)
    return order


def held_back(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the studies that wait for others of a higher priority: of their project, or of another one."""
    if not candidates:
        return []
    highest = max(candidate.of_projects.priority for candidate in candidates)
    in_project: dict[str, int] = {}
    for candidate in candidates:
        before = in_project.get(candidate.project, candidate.of_studies.priority)
        in_project[candidate.project] = max(before, candidate.of_studies.priority)
    return [
        candidate
        for candidate in candidates
        if candidate.of_projects.priority < highest or candidate.of_studies.priority < in_project[candidate.project]
    ]


def owed_change(study_id: int, held: Sequence[Candidate], gpu_seconds: float) -> float:
    """Return by how much what is owed to lower priorities changes when a study gets a trial of so many GPU seconds.

    `held`: the studies that were held back then; where there are none, nothing is owed.
    """
    if not held:
        return 0.0
    return -gpu_seconds if any(candidate.study_id == study_id for candidate in held) else GUARANTEED * gpu_seconds
