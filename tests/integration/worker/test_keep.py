"""`luthier workers` as a machine runs it: on the GPUs it found or on none, with a sign of life, until a signal."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from luthier.studies.versions import EXIT_OTHER_VERSION
from tests.support.paths import ROOT
from tests.support.scripted import TOKEN, Service
from tests.support.served import descendants
from tests.support.waiting import gone, until

# `nvidia-smi` is the test's own; NVIDIA's library would find the machine's driver.
NO_LIBRARY = "import sys; sys.modules['pynvml'] = None; "
LUTHIER = NO_LIBRARY + "from luthier.service.cli import main; main()"


class Kept:
    """The command's process, what it says, and its sign of life."""

    def __init__(self, service: Service, folder: Path, *options: str, path: str, code: str = LUTHIER) -> None:
        self.alive, self._output = folder / "alive", folder / "output"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, "workers", "--server", service.url, "--alive", str(self.alive), *options],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                env=os.environ
                | {"PATH": path, "LUTHIER_WORKER_TOKEN": TOKEN, "LUTHIER_WORKERS_PER_GPU": "1"}
                | {"LUTHIER_HOME": str(folder / "home")},
            )

    def text(self) -> str:
        return self._output.read_text(errors="replace")

    def workers(self) -> list[int]:
        """Its workers, without the `nvidia-smi` that it may be asking at the moment."""
        return [pid for pid, line in descendants(self.process.pid) if "-m luthier.trials " in line]


Keeps = Callable[..., Kept]


@pytest.fixture
def keep(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeps]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    kept: list[Kept] = []

    def start(*options: str, path: str, code: str = LUTHIER) -> Kept:
        kept.append(Kept(service, tmp_path, *options, path=path, code=code))
        return kept[-1]

    yield start
    for one in kept:
        one.process.kill()
        one.process.wait()


def nvidia_smi(folder: Path, script: str) -> str:
    """The PATH on which `nvidia-smi` is this script, and nothing else is."""
    folder.mkdir()
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)
    return str(folder)


@pytest.mark.full
def test_workers_stay_up_until_a_signal(service: Service, keep: Keeps, tmp_path: Path) -> None:
    kept = keep("--cpu", path=str(tmp_path))
    service.wait(lambda s: any(route == "claim" for route, _ in s.said))
    until(kept.alive.exists, 30)
    workers = kept.workers()
    kept.process.send_signal(signal.SIGTERM)
    assert kept.process.wait(15) == 0
    assert len(workers) == 1
    assert gone(workers[0])


def test_without_a_gpu_nothing_works_and_nothing_looks_alive(service: Service, keep: Keeps, tmp_path: Path) -> None:
    quick = "import luthier.service.fleet.keeper as w; w.ALIVE_SECONDS = w.LOOK_SECONDS = 0.1; "
    kept = keep(path=nvidia_smi(tmp_path / "bin", f"echo >>{tmp_path}/looks"), code=quick + LUTHIER)
    until(lambda: (tmp_path / "looks").exists() and (tmp_path / "looks").stat().st_size >= 3, 30)
    assert kept.text().count("No GPU can be used here") == 1
    assert not kept.workers()
    assert not kept.alive.exists()
    assert not service.said
    kept.process.send_signal(signal.SIGTERM)
    assert kept.process.wait(5) == 0


def test_the_gpus_that_were_found_are_those_that_work(keep: Keeps, tmp_path: Path) -> None:
    """However `nvidia-smi` answers the next time: nothing is trained on the CPU instead."""
    once = f"[ -e {tmp_path}/asked ] && exit 1\n: >{tmp_path}/asked\necho 'GPU 0: NVIDIA H200 (UUID: GPU-aaaa-1)'"
    kept = keep(path=nvidia_smi(tmp_path / "bin", once))
    until(lambda: re.search(r"worker workers-0@\S+ on ", kept.text()), 30)
    assert re.findall(r"worker workers-\d+@\S+ on (.*)", kept.text()) == ["GPU-aaaa-1"]


@pytest.mark.full
def test_workers_that_are_refused_for_their_version_end_it_with_their_code(
    service: Service, keep: Keeps, tmp_path: Path
) -> None:
    service.status["claim"] = 409
    kept = keep("--cpu", path=str(tmp_path))
    assert kept.process.wait(60) == EXIT_OTHER_VERSION
    assert "as the script says" in kept.text()
    assert "is not started again" in kept.text()
