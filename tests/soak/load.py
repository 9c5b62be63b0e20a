"""The load of a busy team: scripted workers, studies and data that come and go, schedules, streams, pages."""

import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx

from tests.support.harness import spec
from tests.support.nightly import schedule
from tests.support.scripted_worker import ScriptedWorker, Stale, client

ACTIVE, ENDED, OF_SCHEDULES, DATASETS = 8, 16, 12, 10  # that are kept at the same time
PLOTS = ("history", "importance", "parallel", "slice", "contour", "intermediate", "timeline")
ENDINGS = ("completed", "stopped", "cancelled", "failed")
CLAIM_SECONDS = 5.0


class Load:
    """Threads that use a service until they are stopped.

    Attributes:
        counts: what was done, by its name; `refused STATUS` counts answers from 400 on, `broken` lost connections.
        faults: sentences: answers from 500 on, and what a thread died of.
    """

    def __init__(self, base: str, workers: int, trials_per_second: float) -> None:
        """Start them all."""
        self.base = base
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._stopping = threading.Event()
        self._pause = workers / trials_per_second
        self._dice = random.Random(0)
        jobs: list[Callable[[httpx.Client], None]] = [self._studies, self._schedules, self._data, self._prune]
        jobs += [self._follow] * 6 + [self._read] * 2
        self._threads = [threading.Thread(target=self._work, args=(f"w{i}",), daemon=True) for i in range(workers)]
        self._threads += [threading.Thread(target=self._do, args=(job,), daemon=True) for job in jobs]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)
        self.faults += ["a thread of the load has not ended" for thread in self._threads if thread.is_alive()]

    def _work(self, name: str) -> None:
        """Be a worker, which goes to another process, with another name, now and then."""
        for life in itertools.count():
            worker = ScriptedWorker(self.base, f"{name}-{life}")
            with contextlib.closing(worker.client):
                for _ in range(50):
                    if self._stopping.is_set():
                        return
                    self._work_once(worker)

    def _work_once(self, worker: ScriptedWorker) -> None:
        try:
            assignment = worker.claim(CLAIM_SECONDS)
            if assignment is None:
                return
            if assignment.kind == "train" and self._dice.random() < 0.02:
                self.counts["assignments dropped"] += 1  # its lease runs out
                return
            worker.post("renew", id=assignment.id, token=assignment.token, log=f"{worker.name} begins\n" * 20)
            worker.work(assignment)
            self.counts[f"{assignment.kind} done"] += 1
        except (Stale, httpx.TransportError, FileNotFoundError):
            self.counts["assignments lost"] += 1  # cancelled, or deleted with its study
        except AssertionError as error:
            self._refused(worker.name, str(error))
        self._stopping.wait(self._pause * self._dice.uniform(0.5, 1.5))

    def _do(self, job: Callable[[httpx.Client], None]) -> None:
        with client(self.base) as http:
            while not self._stopping.is_set():
                try:
                    job(http)
                except httpx.TransportError:
                    self.counts["broken"] += 1
                except Exception as error:  # of the load itself
                    self.faults.append(f"{job.__name__}: {type(error).__name__}: {error}")
                    return

    def _send(self, http: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
        answer = http.request(method, path, **options)
        self.counts["requests"] += 1
        if answer.is_error:
            self._refused(f"{method} {path}", f"{answer.status_code} {answer.text[:200]}")
        return answer

    def _refused(self, what: str, answer: str) -> None:
        status = answer[:3] if answer[:3].isdigit() else "message"
        self.counts[f"refused {status}"] += 1
        if status.startswith("5") and not answer.startswith("503"):
            self.faults.append(f"{what}: {answer}")

    def _studies(self, http: httpx.Client) -> None:
        """Keep so many studies going; use those that have ended, and delete the oldest of them."""
        own = [study for study in self._list(http, "/v1/studies?limit=500") if study["name"].startswith("s-")]
        active = [study for study in own if study["state"] not in ENDINGS]
        for _ in range(ACTIVE - len(active)):
            self.counts["studies"] += 1
            pruner, trials = self._dice.choice(["none", "median", "hyperband"]), self._dice.randint(5, 25)
            body = spec(f"s-{self.counts['studies']}", pruner={"name": pruner}, budget={"trials": trials}, parallel=8)
            self._send(http, "POST", "/v1/studies", json=body)
        ended = [study["name"] for study in own if study["state"] in ENDINGS]  # the newest first
        for name in ended[ENDED:]:
            self._send(http, "DELETE", f"/v1/studies/{name}")
            self.counts["studies deleted"] += 1
        for study in [one for one in own if one["model"] is not None][:2]:
            path = f"/v1/studies/{study['name']}"
            self._send(http, "POST", f"{path}/predict", content=b"text\na\n", headers={"Content-Type": "text/csv"})
            self._send(http, "POST", f"{path}/onnx")
            self._send(http, "GET", f"{path}/model")
        if active and self._dice.random() < 0.1:
            act = self._dice.choice(["cancel", "stop", "pause"])
            name = self._dice.choice(active)["name"]
            self._send(http, "POST", f"/v1/studies/{name}/{act}")
            if act == "pause":
                self._send(http, "POST", f"/v1/studies/{name}/resume")
        self._stopping.wait(2)

    def _schedules(self, http: httpx.Client) -> None:
        """Trigger schedules; make one anew now and then, and delete the studies that it left."""
        there = [one["name"] for one in self._list(http, "/v1/schedules?limit=500")]
        if len(there) < 3:
            self.counts["schedules"] += 1
            body = schedule(name=f"r-{self.counts['schedules']}", cron="0 0 1 1 *", keep_runs=2)
            self._send(http, "POST", "/v1/schedules", json=body)
        elif self._dice.random() < 0.05:
            self._send(http, "DELETE", f"/v1/schedules/{there[-1]}")
        for name in there:
            self._send(http, "POST", f"/v1/schedules/{name}/trigger")
            self._send(http, "GET", f"/v1/schedules/{name}/runs")
        of_runs = [study for study in self._list(http, "/v1/studies?limit=500") if study["name"].startswith("r-")]
        for study in [one for one in of_runs if one["state"] in ENDINGS][OF_SCHEDULES:]:
            self._send(http, "DELETE", f"/v1/studies/{study['name']}")
        self._stopping.wait(5)

    def _data(self, http: httpx.Client) -> None:
        rows = "".join(f"{self._dice.random()},{i % 2}\n" for i in range(2_000))
        self._send(http, "POST", "/v1/datasets", files={"file": ("rows.csv", f"text,label\n{rows}".encode())})
        for one in self._list(http, "/v1/datasets?limit=500")[DATASETS:]:
            self._send(http, "DELETE", f"/v1/datasets/{one['id']}")
        self._stopping.wait(2)

    def _prune(self, http: httpx.Client) -> None:
        self._stopping.wait(30)
        self._send(http, "POST", "/v1/prune", json={"kinds": ["weights", "logs", "onnx"], "dry_run": False})

    def _follow(self, http: httpx.Client) -> None:
        """Open a stream of events, read some, and hang up, perhaps while the service writes."""
        names = [study["name"] for study in self._list(http, "/v1/studies?limit=20")]
        path = f"/v1/studies/{self._dice.choice(names)}/events" if names and self._dice.random() < 0.7 else "/v1/events"
        until = time.monotonic() + self._dice.uniform(0.2, 8)
        with http.stream("GET", path, timeout=httpx.Timeout(10, read=20)) as answer:
            self.counts["streams"] += 1
            for _ in answer.iter_lines():
                self.counts["lines of events"] += 1
                if time.monotonic() > until or self._stopping.is_set():
                    break

    def _read(self, http: httpx.Client) -> None:
        """Read a page or a plot, as a person who looks around."""
        names = [study["name"] for study in self._list(http, "/v1/studies?limit=50")]
        fixed = ["/", "/workers", "/schedules", "/data", "/usage", "/v1/usage", "/metrics", "/v1/workers", "/new"]
        if names:
            name = self._dice.choice(names)
            plot = f"/v1/studies/{name}/plots/{self._dice.choice(PLOTS)}?format={self._dice.choice(['json', 'html'])}"
            pages = ["", "/timeline", "/trials/0"]
            of_study = [plot, "/dashboard/api/studies", *(f"/studies/{name}{page}" for page in pages)]
            of_study += [f"/v1/studies/{name}{path}" for path in ("", "/trials", "/trials/0/logs")]
            self._send(http, "GET", self._dice.choice(of_study), headers={"Accept": "text/html"})
        self._send(http, "GET", self._dice.choice(fixed))
        self._stopping.wait(1)

    def _list(self, http: httpx.Client, path: str) -> list[dict[str, Any]]:
        return list(self._send(http, "GET", path).raise_for_status().json()["items"])
