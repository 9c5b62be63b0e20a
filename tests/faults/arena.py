"""The arena of a round: services, workers, their database and the proxies between, all of which faults disturb.

One thread drives it. Whatever a fault breaks it puts right again before it returns; `quiet_since` is that moment.
"""

import contextlib
import itertools
import random
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.faults.databases import RoundDatabase
from tests.faults.holding import HoldingWatch
from tests.faults.mounts import disk
from tests.faults.processes import ServiceProcess, WorkerProcess
from tests.faults.proxy import Proxy
from tests.faults.service import LEASE_SECONDS
from tests.faults.setting import Setting
from tests.faults.templates import Templates
from tests.support.harness import spec
from tests.support.served import spec as real_spec
from tests.support.small_disk import SmallDisk
from tests.support.waiting import until

ENDED = ("completed", "stopped", "cancelled", "failed")
WORKERS = {"scripted": 5, "parents": 3, "real": 2}
ASHA = 0.3  # of the studies: their trials pause at rungs
PATIENCE_SECONDS = 300.0  # until something that must happen is taken for never to happen


class Arena:
    """A running system, and what is known of how it was disturbed.

    Attributes:
        home, store, journals: its folders.
        uses_gpus: its workers have GPUs, of which each trial takes a half.
        studies: the names of those that were created, but for the cancelled ones.
        cancelled: the names of those.
        journals_since: what workers wrote down before was lost with a database.
        may_lack: a back-up was restored, and evaluations of trials that ran may be missing.
        excused: reasons for which trials may fail, since a fault made them.
        excused_errors: names of exceptions that a log may tell of, since a fault made them.
        cut_files: files of the store that a fault has cut, by their paths.
        violations: what was found broken, as sentences.
    """

    def __init__(
        self,
        templates: Templates,
        folder: Path,
        setting: Setting,
        chance: random.Random,
        database: RoundDatabase | None = None,
        uses_gpus: bool | None = None,
    ) -> None:
        """Take what is in a folder already, with a database in it; or make both."""
        self.templates, self.folder, self.setting, self.chance = templates, folder, setting, chance
        self.home, self.store, self.journals = folder / "home", folder / "store", folder / "journals"
        self._mounts = contextlib.ExitStack()
        names = ("home", "store", "tmp", "cache") if database is None else ("tmp", "cache")
        self.disks: dict[str, SmallDisk] = {}
        for name in names:
            self._mounts.enter_context(disk(folder / name, 96, self.disks))
        self.journals.mkdir()
        self.mischief = folder / "mischief"
        self.mischief.mkdir()
        self.database = database or templates.database(setting.database, self.home)
        self.uses_gpus = chance.random() < 0.5 if uses_gpus is None else uses_gpus
        self.quiet_since, self.journals_since = time.monotonic(), 0.0
        self.may_lack = False
        self.excused: set[str] = set()
        self.excused_errors: set[str] = set()
        self.cut_files: set[str] = set()
        self.violations: list[str] = []
        self.studies: list[str] = []
        self.cancelled: set[str] = set()
        self.holding = HoldingWatch(self.database, 2 * LEASE_SECONDS)
        self._numbers, self._study_numbers = itertools.count(1), itertools.count(1)
        surroundings = {"TMPDIR": str(folder / "tmp"), "LUTHIER_STORE": str(self.store)}
        surroundings |= {"LUTHIER_CACHE_DIR": str(folder / "cache"), "LUTHIER_CACHE_MEMORY": "0"}
        self._surroundings = surroundings | {"LUTHIER_FAULTS_MISCHIEF": str(self.mischief)}
        self.services = [self._service(i) for i in range(setting.services)]
        self.proxies = [Proxy(templates.loop, service.port) for service in self.services]
        self.workers: list[WorkerProcess] = []

    def _service(self, number: int) -> ServiceProcess:
        log = self.folder / f"service-{number}.log"
        return ServiceProcess(self.home, self.database.service_url, log, self._surroundings)

    @property
    def mark(self) -> str:
        """What the environment of each process of real workers holds."""
        return f"LUTHIER_FAULTS_MISCHIEF={self.mischief}"

    def next_number(self) -> int:
        """Return a number that no other call has returned."""
        return next(self._numbers)

    def start(self) -> None:
        """Start services and workers."""
        for service in self.services:
            service.start()
        for _ in range(self.setting.hands or WORKERS[self.setting.workers]):
            self.hire()

    def hire(self) -> None:
        """Start one more worker, under a name that no other had."""
        number = self.next_number()
        proxy = self.proxies[number % len(self.proxies)]
        gpu = f"gpu-{number % 2}" if self.uses_gpus and self.setting.workers == "scripted" else None
        given = (proxy.url, f"w{number}", self.journals, gpu, self.chance.random() < 0.4, self.chance.randrange(2**31))
        worker = WorkerProcess(self.setting.workers, given, self._surroundings)
        worker.start()
        self.workers.append(worker)

    def dismiss(self, worker: WorkerProcess) -> None:
        """Note that a worker was ended, and start another in its place."""
        self.workers.remove(worker)
        self.holding.died(worker.name)
        self.hire()

    def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a user's request to a service, until one answers."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with contextlib.suppress(httpx.TransportError):
                url = self.chance.choice(self.services).url
                response = httpx.request(method, url + path, timeout=3, **request)
                if response.status_code < 500:
                    return response
            assert time.monotonic() < deadline, f"no service answered {method} {path}"
            self.mend()
            time.sleep(0.05)

    def create(self) -> None:
        """Create one more study."""
        name = f"s{next(self._study_numbers)}"
        changes = {"budget": {"trials": self.setting.trials}, "parallel": self.setting.parallel}
        changes["seed"] = self.chance.randrange(1000)
        if self.setting.workers == "real":
            document = real_spec(self.templates.tiny, name, **changes)
            document["space"] |= {"epochs": 1}
        else:
            changes |= {"pruner": {"name": "asha", "reduction_factor": 2}} if self.chance.random() < ASHA else {}
            document = spec(name, **changes, **({"resources": {"gpus": 0.5}} if self.uses_gpus else {}))
        answer = self.send("POST", "/v1/studies", json=document)
        assert answer.status_code in (200, 201), answer.text
        self.studies.append(name)

    def cancel(self) -> None:
        """Cancel the latest study."""
        name = self.studies.pop()
        self.cancelled.add(name)
        self.send("POST", f"/v1/studies/{name}/cancel")

    def told_of_ends(self, studies: Iterable[str]) -> None:
        """Return once Optuna knows the end of each of our trials of studies that have ended.

        Trials that wait or are cancelled come to their end with their study, and Optuna is told of it afterwards.
        """
        names = ", ".join(f"'{name}'" for name in studies)
        if not names:
            return
        ours = "SELECT name, number FROM luthier_assignment JOIN luthier_study ON luthier_study.id = study_id"
        running = (
            "SELECT 1 FROM trials JOIN studies ON trials.study_id = studies.study_id "
            f"JOIN ({ours} WHERE kind = 'train') AS ours ON name = study_name AND ours.number = trials.number "
            f"WHERE trials.state = 'RUNNING' AND study_name IN ({names})"
        )
        until(lambda: not self.database.rows(running), PATIENCE_SECONDS, 0.1)

    def state(self, name: str) -> str:
        """Return a study's state, past all wires."""
        rows = self.database.rows(f"SELECT state FROM luthier_study WHERE name = '{name}'")
        return str(rows[0].state) if rows else "missing"

    def running(self) -> list[Any]:
        """Return the trials that run: id, worker, and the evaluations reported."""
        where = "state = 'running' AND kind = 'train'"
        return list(self.database.rows(f"SELECT id, worker, step FROM luthier_assignment WHERE {where}"))

    def busy(self) -> None:
        """Return once a trial runs; a new study is created where all have ended."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            self.holding.look()
            if not self.studies or self.state(self.studies[-1]) in ENDED:
                self.create()
            if self.running():
                return
            assert time.monotonic() < deadline, f"no trial began to run within {PATIENCE_SECONDS} s"
            self.mend()
            time.sleep(0.05)

    def mend(self) -> None:
        """Start what has died by itself, as an init system would: a service whose database was away at its start."""
        for service in self.services:
            if not service.alive:
                service.start()
        for worker in list(self.workers):
            if not worker.alive:
                self.dismiss(worker)

    def deaths(self) -> int:
        """Return how many services have died until now, whether they were started again or not."""
        return sum(len(service.deaths) + (not service.alive) for service in self.services)

    @contextlib.contextmanager
    def disturbed(self) -> Iterator[None]:
        """Everything may be late in this block, and for as long after it as it promises."""
        self.holding.pause()
        try:
            yield
        finally:
            self.quiet_since = time.monotonic()
            self.holding.resume()

    def answered(self) -> None:
        """Return once every service answers a question that needs the database."""
        for service in self.services:
            until(lambda service=service: self._is_ready(service), PATIENCE_SECONDS, 0.05)

    def _is_ready(self, service: ServiceProcess) -> bool:
        self.mend()
        try:
            return httpx.get(f"{service.url}/v1/studies?limit=1", timeout=1.5).is_success
        except httpx.TransportError:
            return False

    def opened_elsewhere(self, folder: Path, database: RoundDatabase) -> "Arena":
        """Return an arena over a copy of this one's home, store and database; it is not started."""
        copied = Arena(self.templates, folder, self.setting, self.chance, database, self.uses_gpus)
        copied.cancelled, copied.may_lack = set(self.cancelled), self.may_lack
        copied.excused, copied.excused_errors = set(self.excused), set(self.excused_errors)
        return copied

    def close(self) -> None:
        """End everything: workers first, then services, which end as they are asked to."""
        for worker in self.workers:
            worker.kill(signal.SIGKILL if self.setting.workers == "scripted" else signal.SIGTERM)
        for service in self.services:
            service.close()
        for proxy in self.proxies:
            proxy.close()

    def clear(self) -> None:
        """Give back the database and the disks; nothing can be read any more."""
        self.database.close()
        self._mounts.close()
