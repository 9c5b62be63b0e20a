"""A round: an arena, some faults in it one after another, and every invariant at its end."""

import random
import shutil
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.arena import Arena
from tests.faults.ending import run_to_the_end
from tests.faults.kinds.registry import Fault
from tests.faults.setting import Setting
from tests.faults.templates import Templates


@dataclass
class Result:
    """What came of a round.

    Attributes:
        setting: what it was made of.
        injected: the names of the faults, in their order, and the seconds that each took.
        violations: what was found broken.
        seconds: how long it took.
    """

    setting: Setting
    injected: list[tuple[str, float]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run(templates: Templates, folder: Path, setting: Setting, faults: Sequence[Fault], seed: int) -> Result:
    """Run a round in an empty folder, which stays where something was broken.

    Args:
        templates: what all rounds share.
        folder: where it leaves its home, journals and logs; it does not exist yet.
        setting: what it is made of.
        faults: they happen in this order, while a trial runs.
        seed: of all that is drawn in it. What processes do at which moment is not drawn, so that a round with the same
            seed is alike, and not the same.
    """
    folder.mkdir(parents=True)
    began, result = time.monotonic(), Result(setting)
    arena = Arena(templates, folder, setting, random.Random(seed))
    try:
        arena.start()
        for fault in faults:
            arena.busy()
            since = time.monotonic()
            fault.inject(arena)
            result.injected.append((fault.name, time.monotonic() - since))
        run_to_the_end(arena)
        result.violations = arena.violations
    except Exception:  # a fault that could not be put right, or nothing that happens any more
        result.violations = [*arena.violations, f"the round broke off: {traceback.format_exc(limit=-4)}"]
    finally:
        arena.close()
        if result.violations:
            shutil.copytree(arena.store, folder / "kept-store", dirs_exist_ok=True)
            shutil.copytree(arena.home, folder / "kept-home", dirs_exist_ok=True)
        arena.clear()
    if not result.violations:
        shutil.rmtree(folder)
    result.seconds = time.monotonic() - began
    return result
