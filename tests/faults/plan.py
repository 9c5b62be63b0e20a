"""Which faults happen in which rounds, drawn by a seed: each kind as often as every other that suits a setting."""

import random
from collections.abc import Iterator, Sequence

from tests.faults.kinds.registry import FAULTS, Fault
from tests.faults.setting import Setting

SCRIPTED = (Setting("sqlite"), Setting("postgres"), Setting("postgres", services=2))
PARENTS = (Setting("sqlite", workers="parents"), Setting("postgres", workers="parents"))
REAL = tuple(Setting(database, workers="real", trials=4, parallel=2) for database in ("sqlite", "postgres"))
CYCLE = (*SCRIPTED, PARENTS[0], *SCRIPTED, PARENTS[1], *SCRIPTED, REAL[0], *SCRIPTED, PARENTS[0], *SCRIPTED, REAL[1])
ROUND = 30  # faults of a round; one that fine-tunes has fewer
ROUND_OF_REAL = 6


def rounds(seed: int, count: int, only: str = "", workers: str = "") -> Iterator[tuple[int, Setting, Sequence[Fault]]]:
    """Yield the seed, the setting and the faults of each round, until there are so many faults.

    Args:
        seed: the same one draws the same rounds.
        count: faults in all.
        only: a part of the names of those that may happen; "" for all.
        workers: the kind of workers of all rounds; "" for all kinds.
    """
    chance = random.Random(seed)
    bags: dict[Setting, list[Fault]] = {}
    cycle = [setting for setting in CYCLE if workers in ("", setting.workers)]
    number = 0
    while count > 0:
        setting = cycle[number % len(cycle)]
        number += 1
        size = min(count, ROUND_OF_REAL if setting.workers == "real" else ROUND)
        chosen = [_draw(chance, bags.setdefault(setting, []), setting, only) for _ in range(size)]
        faults = [fault for fault in chosen if fault is not None]
        count -= len(faults)
        if faults:
            yield chance.randrange(2**31), setting, faults


def _draw(chance: random.Random, bag: list[Fault], setting: Setting, only: str) -> Fault | None:
    """Take a fault out of a setting's bag, which is filled and shuffled when it is empty."""
    if not bag:
        for fault in FAULTS:
            if fault.suits(setting) and only in fault.name and fault.lack() is None:
                bag += [fault] * fault.weight
        chance.shuffle(bag)
    return bag.pop() if bag else None


def lacking() -> list[tuple[str, str]]:
    """Return the kinds of faults that cannot happen on this machine, and why."""
    return [(fault.name, why) for fault in FAULTS if (why := fault.lack()) is not None]
