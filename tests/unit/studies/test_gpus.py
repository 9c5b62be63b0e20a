"""GPUs as NVIDIA's library and `nvidia-smi` list them, and which of them CUDA_VISIBLE_DEVICES leaves."""

import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from luthier.studies import gpus
from luthier.studies.gpus import GpuDevice, choose_visible, find_gpu, list_gpus, parse_listing, usable_gpus

LISTING = """GPU 0: NVIDIA H200 (UUID: GPU-aaaa-1)
GPU 1: NVIDIA H200 (UUID: GPU-bbbb-2)
  MIG 1g.18gb     Device  0: (UUID: MIG-cccc-3)
  MIG 1g.18gb     Device  1: (UUID: MIG-dddd-4)
"""
LISTED = [
    GpuDevice("GPU-aaaa-1", "NVIDIA H200"),
    GpuDevice("GPU-bbbb-2", "NVIDIA H200"),
    GpuDevice("MIG-cccc-3", "MIG 1g.18gb", is_instance=True),
    GpuDevice("MIG-dddd-4", "MIG 1g.18gb", is_instance=True),
]


class FakeLibrary:
    """The functions of `pynvml` that Luthier calls, over two GPUs, of which the second is split in two."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, driver: bool = True, memory: bool = True) -> None:
        self.driver, self.memory, self.is_open = driver, memory, False

    def nvmlInit(self) -> None:
        if not self.driver:
            raise self.NVMLError("NVML Shared Library Not Found")
        self.is_open = True

    def nvmlShutdown(self) -> None:
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "NVIDIA H200" if handle < 2 else "NVIDIA H200 MIG 1g.18gb"

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return ["GPU-aaaa-1", "GPU-bbbb-2", "MIG-cccc-3", "MIG-dddd-4"][handle]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        if not self.memory:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(total=(143_771 if handle < 2 else 16_384) * 2**20 + 1_000)

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: int) -> int:
        if handle == 0:
            raise self.NVMLError("Not Supported")
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: int, place: int) -> int:
        assert handle == 1
        if place not in (1, 4):
            raise self.NVMLError("Not Found")
        return 2 if place == 1 else 3


@pytest.fixture(autouse=True)
def no_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_run_nvidia_smi", lambda *_: "")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    """NVIDIA's library, with a driver."""
    fake = FakeLibrary()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def test_the_library_lists_gpus_and_the_instances_of_a_split_one(library: FakeLibrary) -> None:
    whole, part = 143_771 * 2**20, 16_384 * 2**20  # whole mebibytes, as nvidia-smi prints them
    assert list_gpus() == [
        GpuDevice("GPU-aaaa-1", "NVIDIA H200", whole),
        GpuDevice("GPU-bbbb-2", "NVIDIA H200", whole),
        GpuDevice("MIG-cccc-3", "NVIDIA H200 MIG 1g.18gb", part, is_instance=True),
        GpuDevice("MIG-dddd-4", "NVIDIA H200 MIG 1g.18gb", part, is_instance=True),
    ]
    assert not library.is_open


@pytest.mark.parametrize(
    ("identifier", "uuid"),
    [("1", "GPU-bbbb-2"), ("GPU-aaaa-1", "GPU-aaaa-1"), ("MIG-dddd-4", "MIG-dddd-4"), ("2", None), ("GPU-a", None)],
)
def test_a_gpu_is_found_by_index_or_uuid(library: FakeLibrary, identifier: str, uuid: str | None) -> None:
    gpu = find_gpu(identifier)
    assert (None if gpu is None else gpu.uuid) == uuid


def test_a_gpu_without_memory_of_its_own_has_no_size(library: FakeLibrary) -> None:
    library.memory = False
    assert [gpu.total_bytes for gpu in list_gpus()] == [None] * 4


@pytest.mark.parametrize("library", [None, FakeLibrary(driver=False)], ids=["not installed", "no driver"])
def test_without_the_library_nvidia_smi_is_asked(monkeypatch: pytest.MonkeyPatch, library: FakeLibrary | None) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library)  # None: the import fails
    assert list_gpus() == []
    assert find_gpu("0") is None
    query = ("--query-gpu=uuid,memory.total,name", "--format=csv,noheader,nounits", "--id=1")
    answers = {("-L",): LISTING, query: "GPU-bbbb-2, 143771, NVIDIA H200\n"}
    monkeypatch.setattr(gpus, "_run_nvidia_smi", lambda *arguments: answers[arguments])
    assert list_gpus() == LISTED
    assert find_gpu("1") == GpuDevice("GPU-bbbb-2", "NVIDIA H200", 143_771 * 2**20)


def test_a_driver_that_hangs_is_left(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    monkeypatch.setattr(gpus, "ANSWER_SECONDS", 0.01)
    monkeypatch.setattr(library, "nvmlInit", release.wait)
    try:
        assert list_gpus() == []
    finally:
        release.set()
    assert "has not answered for 0.01 s" in caplog.text


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["GPU-aaaa-1", "MIG-cccc-3", "MIG-dddd-4"]),
        ("", []),
        ("0", ["GPU-aaaa-1"]),
        ("1,0", ["MIG-cccc-3", "MIG-dddd-4", "GPU-aaaa-1"]),
        ("GPU-aaaa", ["GPU-aaaa-1"]),
        ("MIG-dddd-4", ["MIG-dddd-4"]),
        ("0,7,1", ["GPU-aaaa-1"]),  # CUDA ignores what follows an unknown one
        ("-1", []),
    ],
)
def test_gpus_are_those_that_cuda_would_show(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: list[str]
) -> None:
    assert choose_visible(parse_listing(LISTING), visible) == expected
    assert choose_visible(parse_listing(""), visible) == []
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert usable_gpus() == expected
