"""What a worker's command line makes of its environment."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from luthier.studies.host import usable_cores
from luthier.studies.protocol import Gpu
from luthier.trials import __main__ as command
from luthier.trials.child.__main__ import check_gpu
from luthier.trials.errors import BadData, CannotWork
from luthier.trials.memory import limit_gpu_memory
from luthier.trials.paths import local_path
from luthier.trials.worker.loop import Worker
from tests.support.tiers import a_few


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
    monkeypatch.setattr(command, "device", lambda given: (found, None))
    command.main(["--server", "http://127.0.0.1:9", *(["--gpu", gpu] if gpu else [])])
    (worker,) = made
    assert worker._environment.get("LUTHIER_GPU") == wanted
    assert worker._claim.device == found
    assert worker._environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.mark.full
@pytest.mark.parametrize(("given", "users", "threads"), a_few(1, [(1, "2", 1), (None, None, 1), (None, "2", 2)]))
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


UUID = "GPU-12345678-1234-1234-1234-123456789012"


@pytest.mark.parametrize(
    ("visible", "given", "said", "device", "gpu"),
    [
        (None, None, f"{UUID}, 81559, NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3", (UUID, 81559 * 2**20)),
        ("3", None, f"{UUID}, 24564, NVIDIA L4", "NVIDIA L4", (UUID, 24564 * 2**20)),
        (None, "1", f"{UUID}, [N/A], NVIDIA GB10", "NVIDIA GB10", (UUID, None)),
        (None, "MIG-1a/2", "", "GPU MIG-1a/2", ("MIG-1a/2", None)),
        (None, "2", "", "GPU 2", ("box/2", None)),
        (None, None, "", "cpu", None),
        (None, "cpu", f"{UUID}, 81559, NVIDIA H100", "cpu", None),
        ("", None, f"{UUID}, 81559, NVIDIA H100", "cpu", None),
    ],
)
def test_a_worker_says_which_gpu_it_has_and_how_large_it_is(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    visible: str | None,
    given: str | None,
    said: str,
    device: str,
    gpu: tuple[str, int | None] | None,
) -> None:
    """`said`: what nvidia-smi prints, which fails where it prints nothing."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '{said}'\ntest -n '{said}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("platform.node", lambda: "box")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert command.device(given) == (device, gpu and Gpu(id=gpu[0], total_bytes=gpu[1]))


def test_a_trial_takes_no_more_than_its_share_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    said: list[float] = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80_000))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", said.append)
    limit_gpu_memory(20_000)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for size in (20_000, None, 90_000):
        limit_gpu_memory(size)
    assert said == [0.25, 1.0, 1.0]


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


@pytest.mark.parametrize("name", ["bad/worker one", "", "-x", "x" * 129, "é", "x\n"])
def test_a_name_that_no_service_takes_is_refused_at_once(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--server", "http://127.0.0.1:9", f"--name={name}"])
    assert ended.value.code == 2
    assert "is no name of a worker" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://[", "http://h:x", "http://", "http://u:secret@h:1:2"])
def test_a_server_that_is_no_url_is_refused_at_once(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--server", url])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "must be as http://HOST:PORT" in told
    assert "secret" not in told
