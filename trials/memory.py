"""Memory that others want too, in a process that may not have imported torch."""

import contextlib
import sys

# What torch says in a plain RuntimeError, or in an AcceleratorError, which is one.
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
    """Whether an error means that memory did not suffice, on a GPU or on the CPU."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OOM_MESSAGES)


def limit_gpu_memory(size: int | None) -> None:
    """Let this process take `size` bytes of its GPU, None: all. Then it runs out itself, not whoever shares the GPU."""
    global _limit
    _limit = size
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(1.0 if size is None else min(1.0, size / total))


def free_gpu_memory() -> int:
    """Bytes that this process may still take of its GPU; 0 without one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0
    free = int(torch.cuda.mem_get_info()[0])
    return free if _limit is None else min(free, _limit - int(torch.cuda.memory_allocated()))


def give_back_gpu_memory() -> None:
    """Let others have what torch keeps for its next tensor."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        with contextlib.suppress(RuntimeError):  # after an error of CUDA nothing works any more
            torch.cuda.empty_cache()
