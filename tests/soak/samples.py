"""Samples of a running service, and the rule by which a series of them is flat."""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil
import sqlalchemy as sa
from scipy.stats import theilslopes

MB = 2**20


@dataclass(frozen=True)
class Measure:
    """A number that is sampled, and how much it may grow in the second half of a run.

    Attributes:
        unit: what one of its numbers is divided by when it is printed.
        share: of its median, that it may grow.
        constant: that it may grow beside that: what noise and histories that are kept on purpose amount to.
    """

    unit: float
    share: float
    constant: float


MEASURES = {
    "memory": Measure(MB, 0.03, 3 * MB),
    "descriptors": Measure(1, 0.1, 4),
    "threads": Measure(1, 0.05, 1),
    "store": Measure(MB, 0.15, MB),
    "database": Measure(MB, 0.08, MB),
    "database file": Measure(MB, 0.08, MB),
}


class Sample(NamedTuple):
    at: float  # seconds since the start
    values: dict[str, float]  # of each measure


class Trend(NamedTuple):
    """How a measure changes in the second half of a run.

    Attributes:
        median: of its samples there.
        growth: in the whole of that half, by the median of the slopes between all pairs of samples.
        least: the lower end of the 95 % interval of that.
        allowed: what it may grow.
    """

    median: float
    growth: float
    least: float
    allowed: float

    @property
    def is_flat(self) -> bool:
        """It cannot be said with 95 % confidence that it grows more than it may."""
        return bool(self.least <= self.allowed)


def trend(measure: Measure, times: Sequence[float], values: Sequence[float]) -> Trend:
    """Return the trend of a series in the second half of its time (Theil 1950, Sen 1968)."""
    half = (times[0] + times[-1]) / 2
    late = [(at, value) for at, value in zip(times, values, strict=True) if at >= half]
    seconds = late[-1][0] - late[0][0]
    found = theilslopes([value for _, value in late], [at for at, _ in late], alpha=0.95)
    ordered = sorted(value for _, value in late)
    median = ordered[len(ordered) // 2]
    allowed = measure.share * median + measure.constant
    return Trend(median, float(found.slope) * seconds, float(found.low_slope) * seconds, allowed)


class Sampler:
    """Takes samples of one service."""

    def __init__(self, pid: int, store: Path, url: str) -> None:
        """Take the process of a service, the folder of its store, and its database."""
        self._process, self._store = psutil.Process(pid), store
        self._engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        self._is_sqlite = url.startswith("sqlite")
        self._start = time.monotonic()
        self.samples: list[Sample] = []

    def take(self) -> Sample:
        sample = Sample(time.monotonic() - self._start, {name: read() for name, read in self._reads().items()})
        self.samples.append(sample)
        return sample

    def trends(self) -> dict[str, Trend]:
        times = [sample.at for sample in self.samples]
        return {
            name: trend(measure, times, [sample.values[name] for sample in self.samples])
            for name, measure in MEASURES.items()
        }

    def rows(self) -> dict[str, int]:
        """Return the number of rows of each table that has any."""
        with self._engine.connect() as connection:
            names = sa.inspect(connection).get_table_names()
            counts = {name: connection.scalar(sa.text(f'SELECT count(*) FROM "{name}"')) or 0 for name in names}
        return {name: count for name, count in counts.items() if count}

    def close(self) -> None:
        self._engine.dispose()

    def _reads(self) -> dict[str, Callable[[], float]]:
        process = self._process
        return {
            "memory": lambda: process.memory_info().rss,
            "descriptors": lambda: float(process.num_fds()),
            "threads": lambda: float(process.num_threads()),
            "store": lambda: float(_bytes_below(self._store)),
            "database": self._used,
            "database file": self._file,
        }

    def _used(self) -> float:
        """Return the bytes that the database's rows and indexes fill; free pages of its file are none of them."""
        with self._engine.connect() as connection:
            if self._is_sqlite:
                size, count, free = (
                    connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                    for name in ("page_size", "page_count", "freelist_count")
                )
                return float(size * (count - free))
            connection.exec_driver_sql("VACUUM")
            return self._postgres_size(connection)

    def _file(self) -> float:
        if self._is_sqlite:
            file = Path(self._engine.url.database or "")
            return float(sum(part.stat().st_size for part in file.parent.glob(f"{file.name}*") if part.is_file()))
        with self._engine.connect() as connection:
            return self._postgres_size(connection)

    @staticmethod
    def _postgres_size(connection: sa.Connection) -> float:
        return float(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())


def _bytes_below(folder: Path) -> int:
    total = 0
    for above, _, names in os.walk(folder):  # which passes over folders that go meanwhile
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(above, name).lstat().st_size
    return total
