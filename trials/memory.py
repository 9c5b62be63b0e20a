"""Telling a lack of memory from other errors, in a process that may not have imported torch."""

import sys

# What torch says in a plain RuntimeError, or in an AcceleratorError, which is one.
SAYINGS = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory did not suffice, on a GPU or on the CPU."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAYINGS)
