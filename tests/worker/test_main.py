"""What a worker's command line makes of its environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from studies.cores import usable_cores
from trials import __main__ as command
from trials.child import CannotWork
from trials.run import check_gpu
from trials.session import BadData
from trials.sources import local_path
from trials.worker import Worker


@pytest.mark.parametrize("roots", [None, "/"])
def test_without_data_roots_a_worker_reads_below_its_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, roots: str | None
) -> None:
    async def run(self: Worker) -> int:
        return 0

    inside, outside = tmp_path / "here" / "d.csv", tmp_path / "secret.csv"
    inside.parent.mkdir()
    inside.touch()
    outside.touch()
    monkeypatch.setattr(Worker, "run", run)
    monkeypatch.chdir(inside.parent)
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", "")  # so that what `main` sets is undone
    if roots is None:
        monkeypatch.delenv("LUTHIER_DATA_ROOTS")
    else:
        monkeypatch.setenv("LUTHIER_DATA_ROOTS", roots)
    assert command.main(["--server", "http://127.0.0.1:9", "--gpu", "cpu"]) == 0
    assert local_path("d.csv") == inside
    if roots is None:
        with pytest.raises(BadData, match="LUTHIER_DATA_ROOTS"):
            local_path(str(outside))
    else:
        assert local_path(str(outside)) == outside


@pytest.mark.parametrize(
    ("gpu", "found", "wanted"),
    [
        (None, "cpu", None),
        ("cpu", "cpu", None),
        (None, "NVIDIA H200", "NVIDIA H200"),
        ("1", "cpu", "1"),  # no nvidia-smi to ask
        ("1", "NVIDIA H200", "NVIDIA H200"),
    ],
)
def test_a_worker_with_a_gpu_has_its_child_insist_on_it(
    monkeypatch: pytest.MonkeyPatch, gpu: str | None, found: str, wanted: str | None
) -> None:
    made: list[Worker] = []

    async def run(self: Worker) -> int:
        made.append(self)
        return 0

    monkeypatch.setenv("LUTHIER_DATA_ROOTS", "/")
    monkeypatch.setattr(Worker, "run", run)
    monkeypatch.setattr(command, "device", lambda given: found)
    command.main(["--server", "http://127.0.0.1:9", *(["--gpu", gpu] if gpu else [])])
    (worker,) = made
    assert worker._environment.get("LUTHIER_GPU") == wanted and worker._claim.device == found
    assert worker._environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "900000 100000\n"}, 4),
        ({"cpu.max": "max 100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({}, 4),
    ],
)
def test_cores_are_those_that_the_container_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    (tmp_path / "cpu").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(("given", "users", "threads"), [(None, None, 1), (None, "2", 2), (1, "2", 1)])
def test_torch_obeys_the_threads_that_a_worker_gives_its_child(
    monkeypatch: pytest.MonkeyPatch, given: int | None, users: str | None, threads: int
) -> None:
    threads = min(threads, usable_cores())  # torch takes no more than there are
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})  # in this process only
    for name in command.THREADS:
        monkeypatch.delenv(name, raising=False)
    if users is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", users)
    code = "import torch; print(torch.get_num_threads())"
    environment = os.environ | command.child_environment("cpu", given)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == threads


def test_a_gpu_that_torch_cannot_use_is_told_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    check_gpu(None)
    with pytest.raises(CannotWork, match=r"H200.* is a build for the CPU\. Install a build for CUDA"):
        check_gpu("NVIDIA H200")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(
        CannotWork, match=r"too old \(found version 11040\)\. Update the NVIDIA driver.* than 13\.0; or"
    ):
        check_gpu("NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_gpu("NVIDIA H200")
