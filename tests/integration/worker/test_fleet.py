"""The local fleet: a worker per GPU, else on the cores; kept running, and gone with the service."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from luthier.service.fleet import local as fleet
from luthier.service.fleet.local import LocalFleet
from luthier.studies.protocol import SECRET_SETTINGS
from tests.support.fleet_contract import FleetContract, MakeFleet
from tests.support.paths import ROOT
from tests.support.scripted import TOKEN, Service
from tests.support.waiting import gone, until


class TestLocalFleet(FleetContract):
    """Processes of this machine."""

    @pytest.fixture
    def make_fleet(self, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeFleet:
        for name in ("FIRST_PAUSE_SECONDS", "LONGEST_PAUSE_SECONDS", "LOOK_SECONDS"):
            monkeypatch.setattr(fleet, name, 0.02)
        monkeypatch.setattr(fleet, "usable_gpus", list)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(2)))
        return lambda token: LocalFleet(service.url, token, data_roots="/data", cpu_workers=2, home=tmp_path / "home")

    @pytest.mark.wide  # the test of this name below proves it, and what the logs say
    def test_a_worker_that_dies_is_started_again(self, service: Service, make_fleet: MakeFleet) -> None:
        super().test_a_worker_that_dies_is_started_again(service, make_fleet)

    @pytest.mark.wide
    def test_workers_that_never_stay_up_are_told_of(self, make_fleet: MakeFleet) -> None:
        super().test_workers_that_never_stay_up_are_told_of(make_fleet)


@pytest.mark.parametrize(
    ("workers", "limit", "threads"),
    [(1, "", ["5"]), (2, "", ["3", "2"]), (7, "", ["1"] * 7), (0, "", ["5"]), (2, "1", ["1", "1"]), (1, "9", ["5"])],
)
def test_cores_are_split_among_workers(
    monkeypatch: pytest.MonkeyPatch, workers: int, limit: str, threads: list[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    monkeypatch.setattr(fleet, "usable_gpus", list)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)))
    assert fleet._devices(workers) == [["--gpu", "cpu", "--threads", count] for count in threads]
    monkeypatch.setattr(fleet, "usable_gpus", lambda: ["GPU-aaaa-1", "MIG-cccc-3", "MIG-dddd-4"])
    shares = fleet._devices(workers)
    assert sum(int(share[-1]) for share in shares) == (3 if limit == "1" else 5)
    two_each = fleet._devices(workers, 2)
    assert [share[1] for share in two_each] == ["GPU-aaaa-1", "MIG-cccc-3", "MIG-dddd-4"] * 2
    assert {share[-1] for share in two_each} == {"1"}


def test_a_worker_that_dies_is_started_again(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fleet, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(fleet, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(fleet, "usable_gpus", list)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(3)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    local = LocalFleet(service.url, TOKEN, data_roots="/data", cpu_workers=2, home=tmp_path / "home")
    caplog.set_level("INFO", "luthier.service.fleet.local")
    local.start()
    assert [re.sub("@.* on", " on", text) for text in caplog.messages] == [
        "worker local-0 on 2 CPU threads",
        "worker local-1 on 1 CPU thread",
    ]
    try:
        service.wait(lambda s: len(s.said) == 2)
        names = {claim.worker for _, claim in service.said}
        assert sorted(name.partition("@")[0] for name in names) == ["local-0", "local-1"]
        first = local.pids
        environment = Path(f"/proc/{first[0]}/environ").read_bytes()
        assert b"LUTHIER_DATA_ROOTS=/data" in environment
        assert all(TOKEN.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in first)
        os.kill(first[0], 9)
        service.wait(lambda s: len(s.said) == 3)
        assert len(local.pids) == 2
        assert first[0] not in local.pids
        assert first[1] in local.pids
    finally:
        last = local.pids
        local.stop(5)
    assert not local.pids
    assert all(gone(pid) for pid in [*first, *last])
    logs = [path.read_text() for path in sorted((tmp_path / "home" / "logs").iterdir())]
    assert len(logs) == 2
    assert all(TOKEN not in text for text in logs)


@pytest.mark.parametrize("token", [TOKEN, None])
def test_the_workers_get_no_secret_but_their_token(
    token: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SECRET_SETTINGS:
        monkeypatch.setenv(name, "of the service")
    local = LocalFleet("http://127.0.0.1:9", token, data_roots=None, cpu_workers=1, home=tmp_path)
    secrets = {name: value for name, value in local._environment.items() if name in SECRET_SETTINGS}
    assert secrets == ({} if token is None else {"LUTHIER_WORKER_TOKEN": token})


@pytest.mark.full
def test_workers_that_never_stay_up_are_told_of(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST_PAUSE_SECONDS", "LONGEST_PAUSE_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(fleet, name, 0.02)
    local = LocalFleet(service.url, "not the token", data_roots=None, cpu_workers=1, home=tmp_path)
    assert local.problem is None
    assert local._environment["LUTHIER_DATA_ROOTS"] == "/"  # no limit, and a worker would set one of its own
    local.start()
    try:
        until(lambda: local.problem)
        assert local.problem is not None
        assert "local-0.log says why: " in local.problem
        assert "LUTHIER_WORKER_TOKEN" in local.problem
    finally:
        local.stop(5)


@pytest.mark.full
def test_workers_end_with_a_service_that_is_killed(service: Service, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from luthier.service.fleet.local import LocalFleet;"
        f"f = LocalFleet({service.url!r}, {TOKEN!r}, data_roots=None, cpu_workers=2, home=Path(sys.argv[1]));"
        "f.start(); print(*f.pids, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "home")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        workers = [int(pid) for pid in starter.stdout.readline().split()]
        service.wait(lambda s: len(s.said) == 2)
        children = [int(c) for w in workers for c in Path(f"/proc/{w}/task/{w}/children").read_text().split()]
        starter.kill()
    assert len(workers) == 2
    assert len(children) == 2
    assert all(gone(pid) for pid in [*workers, *children])


def test_a_worker_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    script = tmp_path / "deaf"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{deaf}'\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    local = LocalFleet("http://127.0.0.1:9", None, data_roots=None, cpu_workers=1, home=tmp_path)
    local.start()
    pids = local.pids
    until(lambda: (tmp_path / "logs" / "local-0.log").read_text())
    began = time.monotonic()
    local.stop(0.2)
    assert time.monotonic() - began >= 0.2  # it was given the time
    assert len(pids) == 1
    assert gone(pids[0])


def test_the_fleet_needs_no_trial_code() -> None:
    code = "import sys, luthier.service.fleet.local; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"luthier.trials", "torch", "optuna"} & set(done.stdout.split())


def test_the_workers_command_loads_no_database_and_no_search(tmp_path: Path) -> None:
    """The command's whole way, up to where it would start its workers."""
    code = (
        "import sys\n"
        "from luthier.service.cli import app\n"
        "from luthier.service.fleet import keeper\n"
        "class Started(Exception): pass\n"
        "def start(*_, **given): raise Started(given['home'])\n"
        "keeper.LocalFleet = start\n"
        "try: app(['workers', '--cpu'], standalone_mode=False)\n"
        "except Started as started: print(started, *sys.modules)"
    )
    environment = os.environ | {"LUTHIER_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    home, *modules = done.stdout.split()
    assert home == str(tmp_path)
    assert "luthier.service.settings" in modules
    assert not {"luthier.service.storage", "luthier.trials", "sqlalchemy", "optuna", "fastapi", "torch"} & set(modules)


def test_a_worker_that_is_refused_for_its_version_is_not_started_again(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(fleet, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(fleet, "usable_gpus", list)
    service.status["claim"] = 409
    local = LocalFleet(service.url, TOKEN, data_roots="/data", cpu_workers=1, home=tmp_path / "home")
    local.start()
    try:
        until(lambda: local.is_refused)
        assert local.pids == []
        assert "as the script says" in (local.problem or "")
        asked = len(service.requests)
        for _ in range(3):
            local._restart_if_dead(local._slots[0], time.monotonic() + 3600)
        assert local.pids == []
        assert len(service.requests) == asked
    finally:
        local.stop(5)
