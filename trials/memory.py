"""Memory errors, and a GPU's memory that several processes share.

The child, the engine and the prefix cache call it. It never imports torch itself: without torch no GPU is in use.
"""

import contextlib
import os
import sys
from pathlib import Path

# Of a plain RuntimeError, or of torch's AcceleratorError, which is one.
OOM_MESSAGES = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
)

_limit: int | None = None  # bytes of the GPU that this process may take


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory did not suffice, on a GPU or on the CPU."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OOM_MESSAGES)


def told_limit(error: BaseException) -> str:
    """Return a sentence about the limit on this process's memory, where an error may come of it; else ""."""
    limit = os.environ.get("LUTHIER_TRIAL_MEMORY", "").strip()
    torch = sys.modules.get("torch")
    is_of_gpu = (torch is not None and isinstance(error, torch.OutOfMemoryError)) or "CU" in str(error)
    return f" This worker's processes may hold LUTHIER_TRIAL_MEMORY = {limit}." if limit and not is_of_gpu else ""


def resident_bytes() -> int | None:
    """Return the memory that this process holds now; None where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def limit_gpu_memory(size: int | None) -> None:
    """Limit the GPU memory that this process may take, so that this process fails before other processes on the GPU do.

    Args:
        size: Bytes; None: no limit.
    """
    global _limit
    _limit = size
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(1.0 if size is None else min(1.0, size / total))


def free_gpu_memory() -> int:
    """Return the bytes that this process may still take of its GPU; 0 without a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0
    free = int(torch.cuda.mem_get_info()[0])
    return free if _limit is None else min(free, _limit - int(torch.cuda.memory_allocated()))


def give_back_gpu_memory() -> None:
    """Free the GPU memory that torch keeps for its next tensors, so that other processes can take it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        with contextlib.suppress(RuntimeError):  # after an error of CUDA no call works any more
            torch.cuda.empty_cache()
