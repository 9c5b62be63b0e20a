"""The GPUs of this machine, listed by NVIDIA's library (NVML), or by `nvidia-smi` if that fails.

The service's local fleet and the worker's command line call it, so that both count GPUs alike. Nothing
here opens a CUDA context or needs torch, and a worker without the package nvidia-ml-py can run it.
"""

import logging
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

CPU = "cpu"  # the device of a worker that works on no GPU
ANSWER_SECONDS = 30.0  # a driver that does not answer in this time is taken as hanging
USABLE_SHARE = 0.95  # of a GPU's memory, for the workers; the driver and the display take the rest
MEBIBYTE = 2**20
_LISTED = re.compile(r"(?P<kind>GPU|\s+MIG)\s+(?P<name>.*?)\s*\(UUID: (?P<uuid>[^)\s]+)\)")


@dataclass(frozen=True)
class GpuDevice:
    """A GPU, or an instance of a GPU that is split (MIG).

    Attributes:
        uuid: `GPU-...`, or `MIG-...` for an instance. CUDA_VISIBLE_DEVICES accepts it.
        name: Product name, as "NVIDIA H200"; for an instance the name that its source gives it.
        total_bytes: Memory in whole mebibytes, as `nvidia-smi` prints it. None where it is not known.
        is_instance: True for an instance of a split GPU.
    """

    uuid: str
    name: str
    total_bytes: int | None = None
    is_instance: bool = False


def list_gpus() -> list[GpuDevice]:
    """Return the machine's GPUs in the order of the PCI bus, each followed by its instances; empty without a driver."""
    devices = _list_by_library()
    return parse_listing(_run_nvidia_smi("-L")) if devices is None else devices


def find_gpu(identifier: str) -> GpuDevice | None:
    """Return the GPU with an index or a UUID, or None where there is none or no driver answers.

    An index always means a whole GPU, also one that is split. `nvidia-smi` finds no instances.
    """
    devices = _list_by_library()
    if devices is None:
        return _query_nvidia_smi(identifier)
    if identifier.isdigit():
        gpus = [device for device in devices if not device.is_instance]
        return gpus[int(identifier)] if int(identifier) < len(gpus) else None
    return next((device for device in devices if device.uuid == identifier), None)


def usable_gpus() -> list[str]:
    """Return the UUIDs of the GPUs that this machine's workers may use; CUDA_VISIBLE_DEVICES limits them."""
    return choose_visible(list_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))


def choose_visible(devices: Iterable[GpuDevice], visible: str | None) -> list[str]:
    """Return the UUIDs of those GPUs that CUDA would show; a split GPU counts as its instances.

    Args:
        devices: GPUs as `list_gpus` orders them.
        visible: Value of CUDA_VISIBLE_DEVICES, None where it is not set: indices, UUIDs or beginnings of UUIDs, of
            which CUDA ignores all from the first unknown one on. Indices count in the order of the PCI bus; workers
            make CUDA count the same way (CUDA_DEVICE_ORDER).
    """
    gpus: list[list[str]] = []  # of each GPU its own UUID, then those of its instances
    for device in devices:
        if not device.is_instance:
            gpus.append([device.uuid])
        elif gpus:
            gpus[-1].append(device.uuid)
    if visible is None:
        return [uuid for gpu in gpus for uuid in gpu[1:] or gpu]
    chosen: list[str] = []
    for entry in filter(None, (entry.strip() for entry in visible.split(","))):
        if entry.isdigit():
            matches = gpus[int(entry)][1:] or gpus[int(entry)] if int(entry) < len(gpus) else []
        else:
            matches = [uuid for gpu in gpus for uuid in gpu if uuid.startswith(entry)]
        if not matches:
            break
        chosen += matches
    return chosen


def _list_by_library() -> list[GpuDevice] | None:
    """Return the GPUs that NVML lists, or None where it is missing, finds no driver, fails, or does not answer."""
    try:
        import pynvml  # type: ignore[import-untyped]  # a part of nvidia-ml-py, which a worker may lack
    except ImportError:
        return None
    answer: list[list[GpuDevice]] = []

    def ask() -> None:
        try:
            answer.append(_read_library(pynvml))
        except pynvml.NVMLError as error:
            log.debug("NVML lists no GPUs: %s", error)

    # In a thread: a call into a driver that hangs cannot be interrupted, and must not stop the whole process.
    thread = threading.Thread(target=ask, daemon=True, name="nvml")
    thread.start()
    thread.join(ANSWER_SECONDS)
    if thread.is_alive():
        log.warning("The NVIDIA driver has not answered for %g s.", ANSWER_SECONDS)
    return answer[0] if answer else None


def _read_library(nvml: Any) -> list[GpuDevice]:
    """List all GPUs and instances with the module `pynvml`. Raises its NVMLError."""
    devices: list[GpuDevice] = []
    nvml.nvmlInit()
    try:
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            devices.append(_describe(nvml, handle, is_instance=False))
            devices += [_describe(nvml, instance, is_instance=True) for instance in _instances(nvml, handle)]
    finally:
        nvml.nvmlShutdown()
    return devices


def _describe(nvml: Any, handle: Any, *, is_instance: bool) -> GpuDevice:
    try:
        total_bytes = nvml.nvmlDeviceGetMemoryInfo(handle).total // MEBIBYTE * MEBIBYTE
    except nvml.NVMLError:  # a GPU that shares the processor's memory has none of its own
        total_bytes = 0
    return GpuDevice(nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle), total_bytes or None, is_instance)


def _instances(nvml: Any, handle: Any) -> list[Any]:
    """Return NVML's handles of a GPU's instances: none where it is not split, or cannot be."""
    try:
        places = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except nvml.NVMLError:
        return []
    handles = []
    for place in range(places):
        try:
            handles.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place))
        except nvml.NVMLError:  # no instance at this place
            continue
    return handles


def parse_listing(listing: str) -> list[GpuDevice]:
    """Return the GPUs and instances in the output of `nvidia-smi -L`, which does not tell their memory."""
    devices: list[GpuDevice] = []
    for match in filter(None, map(_LISTED.match, listing.splitlines())):
        is_instance = match["kind"] != "GPU"
        # `name` is "0: NVIDIA H200" of a GPU, and "1g.18gb     Device  0:" of an instance
        name = f"MIG {match['name'].split()[0]}" if is_instance else match["name"].partition(": ")[2]
        devices.append(GpuDevice(match["uuid"], name, is_instance=is_instance))
    return devices


def _query_nvidia_smi(identifier: str) -> GpuDevice | None:
    """Ask `nvidia-smi` for one whole GPU by its index or UUID; None where it knows no such GPU."""
    fields = "--query-gpu=uuid,memory.total,name"
    lines = _run_nvidia_smi(fields, "--format=csv,noheader,nounits", f"--id={identifier}").strip().splitlines()
    values = lines[0].split(", ", 2) if lines else []
    if len(values) != 3:
        return None
    uuid, mebibytes, name = values
    total_bytes = int(mebibytes) * MEBIBYTE if mebibytes.isdigit() else 0
    return GpuDevice(uuid, name, total_bytes or None)


def _run_nvidia_smi(*arguments: str) -> str:
    """Return the output of `nvidia-smi`; empty where it is not installed, fails, or does not answer."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    try:
        process = subprocess.run(  # noqa: S603 - no shell
            [tool, *arguments], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("nvidia-smi does not answer (%s): no GPU is used.", error)
        return ""
    return process.stdout if process.returncode == 0 else ""
