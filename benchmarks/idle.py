"""The cost of workers that wait: CPU of an idle service, and the time of its list of studies meanwhile.

    python benchmarks/idle.py [--workers 0 100 400 1000] [--seconds 20] [--database URL] [--json]

A real service process, and so many connections that claim, each waiting 15 to 20 s at a time as workers do. CPU is the
service's own, as a share of one core; the first seconds, in which all claim at once, are given apart.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from overhead import service

WAIT_SECONDS = (15.0, 20.0)
"""As workers wait, each as long as it likes (`trials/worker/loop.py`)."""
CROWD_SECONDS = 5.0
"""After the start of all workers."""
LIST_PAUSE_SECONDS = 0.1


async def wait_for_work(port: int, name: str) -> None:
    """Claim for ever, over one connection."""
    body = json.dumps({"worker": name, "wait_seconds": random.uniform(*WAIT_SECONDS)})  # noqa: S311
    head = "POST /v1/worker/claim HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while True:
            writer.write(f"{head}\r\n\r\n{body}".encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            if b" 204 " not in answer.split(b"\r\n", 1)[0]:
                raise RuntimeError(f"{name}: {answer!r}")
    finally:
        writer.close()


async def watch(process: psutil.Process, base: str, seconds: float) -> dict[str, float]:
    """Return the service's CPU for so many seconds, and the times of its list of studies meanwhile."""
    times: list[float] = []
    used, start = sum(process.cpu_times()[:2]), time.perf_counter()
    async with httpx.AsyncClient(base_url=base, timeout=120) as client:
        while time.perf_counter() - start < seconds:
            begun = time.perf_counter()
            (await client.get("/v1/studies")).raise_for_status()
            times.append(time.perf_counter() - begun)
            await asyncio.sleep(LIST_PAUSE_SECONDS)
    share = (sum(process.cpu_times()[:2]) - used) / (time.perf_counter() - start)
    return {
        "cores": round(share, 3),
        "list_ms_median": round(1e3 * statistics.median(times), 1),
        "list_ms_max": round(1e3 * max(times), 1),
    }


async def measure(base: str, workers: int, seconds: float) -> dict[str, Any]:
    """Return what the service needs while so many workers wait: as they come, and then."""
    port = int(base.rsplit(":", 1)[1])
    process = next(c for c in psutil.process_iter() if _listens(c, port))
    crew = [asyncio.create_task(wait_for_work(port, f"w{i}")) for i in range(workers)]
    crowd = await watch(process, base, CROWD_SECONDS)
    steady = await watch(process, base, seconds)
    failed = [task.exception() for task in crew if task.done()]
    for task in crew:
        task.cancel()
    await asyncio.gather(*crew, return_exceptions=True)
    return {"workers": workers, "first_seconds": crowd, "then": steady, "failed": len(failed)}


def _listens(process: psutil.Process, port: int) -> bool:
    try:
        return any(c.status == "LISTEN" and c.laddr.port == port for c in process.net_connections("tcp"))
    except psutil.Error:
        return False


def main() -> None:
    """Measure with each number of workers, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 100, 400, 1000])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--database", default="", help="SQLAlchemy URL; SQLite by default")
    parser.add_argument("--json", action="store_true", help="the last line is the result as JSON")
    options = parser.parse_args()
    rows = []
    for workers in options.workers:
        with tempfile.TemporaryDirectory() as name:
            url = options.database or f"sqlite:///{name}/luthier.db"
            with service(url, Path(name) / "home") as base:
                rows.append(asyncio.run(measure(base, workers, options.seconds)))
                print(rows[-1], flush=True)
    if options.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
