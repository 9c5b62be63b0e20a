"""An hour of trials without training, with a poisoned study, a full disk and steps of the clock in between.

    python benchmarks/soak.py [--minutes 60] [--workers 8] [--rate 2] [--database sqlite] [--json]

A real service process serves workers that train nothing (those of overhead.py, which repeat a message until it is
taken) while healthy studies of 100 trials follow one another. In between:

- after 1/6 of the time: Optuna loses a trial of one study, and of another one a trial cannot be read any more;
- all the time: a third study's trials report absurd numbers, and fail with huge texts;
- after 2/6: the disk of the service's home is full for 30 seconds (it is a tmpfs; the database lies elsewhere);
- after 3/6 and 4/6: the clock of service and database steps three hours forward, then two hours back.

At the end every healthy study must have exactly its budget, in our rows and in Optuna's, and no failed trial; the run
prints what it counted, the longest pause between two ended trials after each disturbance, and exits with 1 if one of
that is not so. The tmpfs needs root; without it no disk is full, and the run says so.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import optuna
import sqlalchemy as sa
from overhead import START_SERVICE, databases, service, spec
from soak_workers import Load

STEPPED = """
from pathlib import Path
from luthier.service.storage.database import Database
Database.clock_offset = property(lambda _: float(Path({clock!r}).read_text()), lambda *_: None)
"""  # a service whose database's clock is off by what a file says
HOME_BYTES = 256 * 2**20  # of the tmpfs: each trial leaves a log
FULL_SECONDS = 30.0
TRIALS = 100  # of each healthy study
AT_ONCE = 3  # healthy studies
LEASE_SECONDS = 15
STEPS = (10_800, 3_600)  # of the clock, in seconds from the right time
WIDE = {"budget": {"trials": 10_000}, "parallel": 1}  # of the poisoned studies: they last to the end


class Studies:
    """The studies of the run: some healthy ones at the same time, each followed by another, and the poisoned ones."""

    def __init__(self, base: str, url: str) -> None:
        """Create the poisoned ones."""
        self.client = httpx.Client(base_url=base, timeout=60)
        self.engine = sa.create_engine(url)
        self.url = url
        self.healthy: list[str] = []
        for name in ("poison-lost", "poison-unreadable", "poison-numbers"):
            self._create(spec(name, 1, 1) | WIDE)

    def keep_going(self) -> None:
        """Create a healthy study for each one that has had its trials."""
        unended = [name for name in self.healthy[-AT_ONCE:] if self._get(name)["state"] in ("queued", "running")]
        for _ in range(AT_ONCE - len(unended)):
            self.healthy.append(f"healthy-{len(self.healthy)}")
            self._create(spec(self.healthy[-1], TRIALS, 4))

    def poison(self) -> None:
        """Damage what Optuna has of two studies."""
        trial = (
            "SELECT max(trial_id) FROM trials JOIN studies USING (study_id) WHERE study_name = :name AND number < "
            "(SELECT max(number) FROM trials t JOIN studies s USING (study_id) WHERE s.study_name = :name)"
        )
        with self.engine.begin() as connection:
            lost, broken = (
                connection.scalar(sa.text(trial), {"name": name}) for name in ("poison-lost", "poison-unreadable")
            )
            for table in ("trial_params", "trial_values", "trial_intermediate_values", "trial_system_attributes"):
                connection.execute(sa.text(f"DELETE FROM {table} WHERE trial_id = :id"), {"id": lost})  # noqa: S608
            connection.execute(sa.text("DELETE FROM trials WHERE trial_id = :id"), {"id": lost})
            garbage = "UPDATE trial_params SET distribution_json = 'garbage' WHERE trial_id = :id"
            connection.execute(sa.text(garbage), {"id": broken})

    def finish(self) -> None:
        """Wait until every healthy study has had its trials."""
        for name in self.healthy:
            while self._get(name)["state"] in ("queued", "running"):
                time.sleep(1)

    def faults(self) -> list[str]:
        """Return a sentence for each healthy study that does not have its exact budget, and for failed trials."""
        found = []
        storage = optuna.storages.get_storage(self.url)
        for name in self.healthy:
            counts = self._get(name)["counts"]
            trials = optuna.load_study(storage=storage, study_name=name).get_trials(deepcopy=False)
            ended = sum(trial.state.is_finished() for trial in trials)
            if (counts["complete"] + counts["pruned"], len(trials), ended) != (TRIALS,) * 3:
                found.append(f"{name}: {counts}, Optuna has {len(trials)} trials, {ended} ended")
        return found

    def warnings(self) -> dict[str, Any]:
        """Return what the service says of the poisoned studies: their state, error and warnings."""
        names = ("poison-lost", "poison-unreadable", "poison-numbers")
        views = {name: self._get(name) for name in names}
        return {name: [view["state"], view["counts"], view["error"], view["warnings"]] for name, view in views.items()}

    def _create(self, body: dict[str, Any]) -> None:
        self._again(lambda: self.client.post("/v1/studies", json=body))

    def _get(self, name: str) -> Any:
        return self._again(lambda: self.client.get(f"/v1/studies/{name}")).json()

    def _again(self, call: Callable[[], httpx.Response]) -> httpx.Response:
        """Repeat a request while the service says that it cannot answer for now."""
        while True:
            with contextlib.suppress(httpx.TransportError):
                response = call()
                if response.status_code < 500:
                    return response.raise_for_status()
            time.sleep(1)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a tmpfs on `folder`; yield whether it could be."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={HOME_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0  # noqa: S603
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=False)  # noqa: S603, S607


def fill(home: Path) -> None:
    """Fill the disk of `home` for a while."""
    ballast = home / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    time.sleep(FULL_SECONDS)
    ballast.unlink()


def disturb(load: Load, studies: Studies, home: Path, clock: Path, seconds: float, small: bool) -> dict[str, float]:
    """Run for `seconds` seconds with each disturbance in its turn; return the longest pause after each of them."""
    acts: list[tuple[str, Callable[[], Any]]] = [("poison", studies.poison)]
    acts += [("full disk", lambda: fill(home))] if small else []
    acts += [(f"clock at {step:+} s", lambda step=step: clock.write_text(str(step))) for step in STEPS]
    start, pauses = time.monotonic(), {}
    for number, (name, act) in enumerate(acts, 1):
        while time.monotonic() < start + number * seconds / 6:
            studies.keep_going()
            time.sleep(1)
        act()
        done = time.monotonic()
        watched = min(seconds / 12, 60)
        while time.monotonic() < done + watched:
            studies.keep_going()
            time.sleep(1)
        pauses[name] = round(load.longest_pause(done, done + watched), 2)
        print(f"{name}: the longest pause in the {watched:.0f} s after it: {pauses[name]} s", flush=True)
    while time.monotonic() < start + seconds:
        studies.keep_going()
        time.sleep(1)
    return pauses


def main() -> None:
    """Run it, print what was counted, and exit with 1 after a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2, help="the most trials a second of a worker")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--json", action="store_true", help="the last line is the result as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name) / "home") as small:
        home, clock = Path(name) / "home", Path(name) / "clock"
        clock.write_text("0")
        os.environ["LUTHIER_LEASE_SECONDS"] = str(LEASE_SECONDS)
        print("with all disturbances" if small else "no tmpfs: no full disk", flush=True)
        code = STEPPED.format(clock=str(clock)) + START_SERVICE
        with databases(Path(name)) as urls, service(urls[options.database][0], home, code) as base:
            studies, load = Studies(base, urls[options.database][0]), Load(base, options.workers, options.rate)
            pauses = disturb(load, studies, home, clock, options.minutes * 60, small)
            studies.finish()
            load.stop()
            faults, poisoned = studies.faults(), studies.warnings()
    result = {"trials": len(load.ended), "studies": len(studies.healthy), "longest_pause_seconds": pauses}
    result |= {"repeats": load.repeats, "refused": load.refused, "faults": faults, "poisoned": poisoned}
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
