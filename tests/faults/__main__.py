"""Make faults while studies run, and look at every invariant: `python -m tests.faults --faults 1000 --seed 1`.

It prints a line for each round and what was broken in it, then the table by kind and database, then all that was
broken; it exits with 1 if anything was.
"""

import argparse
import json
import logging
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.faults import kinds, plan, rounds
from tests.faults.rounds import Result
from tests.faults.setting import Setting
from tests.faults.table import broken_rounds, describe, table
from tests.faults.templates import Templates

assert kinds.__all__  # the import has made the list of faults


def run(given: argparse.Namespace, seed: int, keep: Path) -> list[Result]:
    """Run rounds until there were so many faults, or the time is over; no round begins after that."""
    until = time.monotonic() + 60 * given.minutes
    planned = plan.rounds(seed, given.faults, given.only, given.workers)
    results: list[Result] = []
    templates = Templates(keep)
    try:
        for number, (round_seed, setting, chosen) in enumerate(planned):
            if time.monotonic() > until:
                print(f"the time is over after {number} rounds", flush=True)
                break
            result = rounds.run(templates, keep / f"round-{number}", setting, chosen, round_seed)
            results.append(result)
            state = f"{len(result.violations)} VIOLATIONS" if result.violations else "well"
            faults_of_round = f"{len(result.injected)} faults in {result.seconds:.0f} s"
            print(f"round {number}: {describe(setting)}: {faults_of_round}: {state}", flush=True)
            print("".join(f"    {sentence}\n" for sentence in result.violations), end="", flush=True)
            if given.results is not None:
                with given.results.open("a") as file:
                    file.write(json.dumps(asdict(result)) + "\n")
    finally:
        templates.close()
    return results


def read(files: Sequence[Path]) -> list[Result]:
    """Return the results that runs have written."""
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [Result(**line | {"setting": Setting(**line["setting"])}) for line in lines]


def main() -> int:
    """Parse the command line, run, and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=1000, help="how many in all (default 1000)")
    parser.add_argument(
        "--seed", type=int, default=None, help="draws the same faults again (default: another each time)"
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no round begins after so many")
    parser.add_argument("--only", default="", help="only faults whose names hold this text")
    parser.add_argument("--workers", default="", choices=("scripted", "parents", "real"), help="only such workers")
    parser.add_argument("--results", type=Path, help="a file that gets a line of JSON for each round")
    parser.add_argument("--table", type=Path, nargs="+", help="run nothing: print the table of such files")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # whatever was started is ended
    logging.disable(logging.CRITICAL)  # the service's own code that looks at what is left
    if given.table is not None:
        results = read(given.table)
    else:
        seed = random.randrange(10**6) if given.seed is None else given.seed
        keep = Path(tempfile.mkdtemp(prefix="luthier-faults-"))
        print(f"seed {seed}; what is broken stays in {keep}", flush=True)
        results = run(given, seed, keep)
    print("\n" + table(results))
    for name, why in plan.lacking():
        print(f"left out: {name}: {why}")
    broken = list(broken_rounds(results))
    print("\n".join(f"BROKEN: {sentence}" for sentence in broken))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
