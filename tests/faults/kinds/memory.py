"""Memory runs out: the kernel kills a child, or refuses it memory; a GPU's allocator does."""

import contextlib
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.arena import Arena
from tests.faults.kinds.children import mischief
from tests.faults.kinds.registry import fault, memory_cgroup
from tests.support.waiting import until

LIMIT_BYTES = 250 * 2**20


def _no_cgroup() -> str | None:
    return None if memory_cgroup() is not None else "no cgroup with a limit of memory can be made here"


def no_gpu() -> str | None:
    """Say that there is no GPU."""
    return None if Path("/dev/nvidia0").exists() else "this machine has no GPU"


@contextlib.contextmanager
def group() -> Iterator[Path]:
    """A cgroup whose processes may use little memory."""
    parent = memory_cgroup()
    assert parent is not None
    folder = parent / f"luthier-faults-{secrets.token_hex(4)}"
    folder.mkdir()
    name = "memory.limit_in_bytes" if (folder / "memory.limit_in_bytes").exists() else "memory.max"
    (folder / name).write_text(str(LIMIT_BYTES))
    try:
        yield folder
    finally:
        until(lambda: _removed(folder), 30)


def _removed(folder: Path) -> bool:
    """Remove a group; return False while a process of it has not quite ended."""
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


@fault("the kernel kills a child that takes too much memory", workers=("parents",), lack=_no_cgroup)
def gobble(arena: Arena) -> None:
    """A cgroup with a limit; the child is lost, and the trial goes on elsewhere."""
    with group() as folder:
        mischief(arena, "gobble", str(folder))


@fault("memory is refused to a child", workers=("parents",))
def refuse(arena: Arena) -> None:
    """A limit of the process: its trial ends as out of memory, from which the search learns."""
    arena.excused.add("oom")
    mischief(arena, "refuse", "")


@fault("a GPU's allocator refuses memory", workers=("real",), lack=no_gpu)
def fill_gpu(arena: Arena) -> None:
    """Another process takes all of the GPU for some seconds."""
    import torch

    arena.excused.add("oom")
    free, _ = torch.cuda.mem_get_info()
    ballast = torch.empty(int(free * 0.98), dtype=torch.uint8, device="cuda")
    time.sleep(arena.chance.uniform(1, 4))
    del ballast
    torch.cuda.empty_cache()
