"""A child that needs too much memory, time or disk is ended with a sentence; its worker and all others go on."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.studies.protocol import Checkpoint, Outcome, Reason
from luthier.trials.worker import memory_groups
from luthier.trials.worker.child_limits import ChildLimits, Confinement, WrongLimit, held_bytes
from luthier.trials.worker.memory_groups import MemoryGroup, sweep_groups
from tests.support.scripted import Service
from tests.support.waiting import ended, until
from tests.support.worker_processes import Starts

EATER = "import sys; sys.stdin.read(1); x = [bytearray(2**20) for _ in range(1000)]"


def groups() -> list[Path]:
    """Return the groups of all workers on this machine, those that are being removed just now too."""
    folders = {parent for parent, _ in memory_groups._parents()}
    return [path for folder in folders for path in folder.glob("luthier-*")]


def groups_of(pid: int) -> list[Path]:
    return [path for path in groups() if f"-{pid}-" in path.name]


@pytest.fixture
def may_group() -> None:
    group = MemoryGroup.create(2**28)
    if group is None:
        pytest.skip("this user may make no control group with a limit on memory")
    group.remove()


def failure(outcome: Outcome) -> str:
    assert outcome.problem is not None
    return outcome.problem.message


@pytest.mark.usefixtures("may_group")
def test_a_child_that_needs_too_much_memory_is_ended_alone(service: Service, start: Starts) -> None:
    eats = {"act": "eat", "batch_size": 4}
    service.assign(1, shared=True, params=eats)
    service.assign(2, shared=True, params=eats | {"steps": 0}, micro_batch=1)
    service.assign(3, shared=True, params={"batch_size": 4})
    service.assign(4, shared=True, params=eats | {"steps": 0}, micro_batch=1)
    process = start(LUTHIER_TRIAL_MEMORY="256MiB")
    given_back = service.outcome(1, 30)
    assert (given_back.status, given_back.micro_batch) == ("released", 2), "with half as many examples together"
    assert "LUTHIER_TRIAL_MEMORY = 256 MiB, and was ended by the kernel" in failure(given_back)
    assert "2 examples together" in service.log(1)
    smallest = service.outcome(2, 30)
    assert (smallest.status, smallest.reason) == ("failed", Reason.OOM)
    assert service.outcome(3, 30).status == "complete"
    warm = service.outcome(4, 30)
    assert (warm.status, warm.micro_batch) == ("released", None), "a fresh process may do it"
    assert "kept models and data of earlier work" in failure(warm)
    until(lambda: len(groups_of(process.popen.pid)) == 1)  # of the child that is there
    process.popen.terminate()
    assert process.popen.wait(20) == 0
    assert groups_of(process.popen.pid) == []


@pytest.mark.full
@pytest.mark.usefixtures("may_group")
def test_the_group_of_a_killed_worker_is_removed_by_the_next(service: Service, start: Starts) -> None:
    service.assign(1, shared=True, params={"act": "hang"})
    process = start(LUTHIER_TRIAL_MEMORY="256MiB")
    child = service.child_pid(1)
    (group,) = groups_of(process.popen.pid)
    os.kill(process.popen.pid, signal.SIGKILL)
    process.popen.wait()
    assert group.exists()
    service.assign(2, shared=True)
    start()
    assert service.outcome(2).status == "complete"
    assert not group.exists()
    assert ended(child)


@pytest.mark.usefixtures("may_group")
def test_a_sweep_leaves_the_groups_of_the_living(tmp_path: Path) -> None:
    group = MemoryGroup.create(2**28)
    assert group is not None
    try:
        sweep_groups()
        assert group.folder.exists()
    finally:
        group.remove()
    assert not group.folder.exists()


def confined(limits: ChildLimits, code: str = EATER) -> tuple[int, Confinement]:
    """Run a process under limits, and return its exit code and what bounded it."""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        confinement = limits.confine(process.pid)
        process.communicate(b"x")
    return process.returncode, confinement


def test_where_there_are_no_groups_an_allocation_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryGroup, "create", lambda limit: None)
    code, confinement = confined(ChildLimits(memory=2**28))
    assert code == 1, "MemoryError, which a child reports"
    assert confinement.why_ended(code) is None
    code, confinement = confined(ChildLimits(memory=2**28), "import os; os.abort()")
    assert "LUTHIER_TRIAL_MEMORY = 256 MiB" in (confinement.why_ended(code) or "")
    assert confinement.why_ended(-signal.SIGKILL) is None, "of somebody else"


def test_memory_beside_a_gpu_is_watched_where_there_are_no_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryGroup, "create", lambda limit: None)
    limits = ChildLimits(memory=2**28, has_gpu=True)
    with subprocess.Popen(
        [sys.executable, "-c", "x = bytearray(2**26); input()"], stdin=subprocess.PIPE, start_new_session=True
    ) as process:
        confinement = limits.confine(process.pid)
        assert limits.is_watched(confinement)
        assert resource.prlimit(process.pid, resource.RLIMIT_DATA)[0] == resource.getrlimit(resource.RLIMIT_DATA)[0]
        until(lambda: held_bytes(process.pid) > 2**26)
        assert held_bytes(process.pid) < 2**27
        process.communicate(b"\n")
    assert not ChildLimits(memory=2**28).is_watched(Confinement(2**28)), "RLIMIT_DATA bounds it"


def test_groups_of_version_2_are_found_and_written(tmp_path: Path) -> None:
    """With plain files in the kernel's place: no machine has the memory of both versions."""
    own, mounts, top = tmp_path / "own", tmp_path / "mounts", tmp_path / "fs"
    unit = top / "system.slice" / "unit"
    (unit / "main").mkdir(parents=True)
    own.write_text("1:name=systemd:/ignored\n0::/system.slice/unit/main\n")
    mounts.write_text(f"30 24 0:26 / {top} rw - cgroup2 cgroup2 rw\n22 1 0:1 / /proc rw - proc proc rw\n")
    found = list(memory_groups._parents(own, mounts))
    assert found == [(unit / "main", memory_groups.V2), (unit, memory_groups.V2)]
    group = MemoryGroup(unit / "luthier-1-2-3-4", memory_groups.V2)
    group.folder.mkdir()
    (group.folder / "memory.max").touch()
    group._set(2**30)
    group.add(77)
    (group.folder / "memory.events").write_text("low 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 1\n")
    written = {name: (group.folder / name).read_text() for name in ("memory.max", "memory.swap.max", "cgroup.procs")}
    assert written == {"memory.max": str(2**30), "memory.swap.max": "0", "cgroup.procs": "77"}
    assert (group.folder / "memory.oom.group").read_text() == "1"
    assert group.kills() == 1


@pytest.mark.full
@pytest.mark.parametrize("act", ["files", "large"])
def test_a_trial_that_writes_too_much_is_ended(service: Service, start: Starts, act: str, tmp_path: Path) -> None:
    service.assign(1, shared=True, params={"act": act})
    service.assign(2, shared=True)
    start(LUTHIER_TRIAL_DISK="3MiB")
    outcome = service.outcome(1)
    assert (outcome.status, outcome.reason) == ("failed", Reason.DISK)
    assert "LUTHIER_TRIAL_DISK" in failure(outcome)
    assert "Raise it where the worker runs" in failure(outcome)
    assert service.outcome(2).status == "complete"
    assert not list((tmp_path / "home").rglob("tmp/*")), "temporary files go with their child"


@pytest.mark.full
def test_a_wrong_size_ends_the_worker_with_a_sentence(service: Service, start: Starts) -> None:
    process = start(LUTHIER_TRIAL_MEMORY="a lot")
    assert process.popen.wait(20) == 4
    assert "LUTHIER_TRIAL_MEMORY must be a number of bytes" in process.text()
    with pytest.raises(WrongLimit, match="LUTHIER_TRIAL_DISK"):
        ChildLimits.of({"LUTHIER_TRIAL_DISK": "x"}, has_gpu=False)


@pytest.mark.parametrize(("name", "size"), [("LUTHIER_TRIAL_MEMORY", "100MB"), ("LUTHIER_TRIAL_DISK", "0")])
def test_a_limit_under_which_nothing_can_train_is_refused(name: str, size: str) -> None:
    with pytest.raises(WrongLimit, match=f"{name} is .*; no trial can do with less than"):
        ChildLimits.of({name: size}, has_gpu=False)


@pytest.mark.full
def test_time_counts_over_all_attempts_and_the_child_is_kept(service: Service, start: Starts) -> None:
    budget = {"budget": {"trials": 1, "trial_seconds": 60.0}, "semantics": 5}
    resumed = {"attempt": 2, "timed_seconds": 59.5, "checkpoint": Checkpoint(step=1)}
    service.assign(1, shared=True, params={"act": "quiet", "steps": 2}, spec=budget, **resumed)
    service.assign(2, shared=True, params={"act": "quiet"}, spec=budget, timed_seconds=99)
    service.assign(3, shared=True)
    start()
    outcome = service.outcome(1)
    assert (outcome.status, outcome.reason) == ("failed", Reason.TIMEOUT)
    assert "budget.trial_seconds (60 s)" in failure(outcome)
    assert outcome.timed_seconds is not None
    assert 60 <= outcome.timed_seconds < 65
    (report,) = service.reports(1)
    assert report.timed_seconds is not None
    assert report.timed_seconds >= 59.5
    assert service.outcome(2).reason is Reason.TIMEOUT
    assert service.outcome(3).timed_seconds is None, "no limit counts it"
    pid = service.log(1).split()[1]
    assert f"pid {pid} " in service.log(3), "a child that ends the trial when it is told to stays"
