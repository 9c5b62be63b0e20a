"""Copies of uploaded data sets on a worker's machine: fetched once, shared, checked, and bounded."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.trials.worker import dataset_copies
from luthier.trials.worker.assignment_files import AssignmentFileError
from luthier.trials.worker.client import WorkerClient
from luthier.trials.worker.dataset_copies import DatasetCopies
from tests.support.archives_of_data import zipped
from tests.support.harness import Running, running
from tests.support.tiers import a_few

CSV = b"text,label\n" + b"one,a\ntwo,b\n" * 500


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "home", None) as house:
        yield house


def assigned(house: Running, name: str, content: bytes, file: str) -> Assignment:
    """Upload a data set, and return the inspection of a study on it."""
    response = house.client.post("/v1/datasets", files={"file": (file, content)}).raise_for_status()
    house.create(name, dataset={"source": response.json()["source"]})
    return house.worker(f"of-{name}").take(AssignmentKind.INSPECT)


class Machine:
    """Workers on one machine, each with a connection of its own."""

    def __init__(self, house: Running, root: Path) -> None:
        self.house, self.root = house, root
        self.log: list[str] = []

    async def open(self, assignment: Assignment, shared: bool = False) -> tuple[DatasetCopies, Path]:
        client = WorkerClient(self.house.url)
        copies = DatasetCopies(client, self.root)
        try:
            (folder,) = (await copies.open(assignment, shared, self.log.append)).values()
            return copies, Path(folder)
        finally:
            await client.close()

    def once(self, assignment: Assignment) -> Path:
        """Use a copy, and give it free."""
        copies, folder = asyncio.run(self.open(assignment))
        copies.close()
        return folder


@pytest.fixture
def machine(house: Running, tmp_path: Path) -> Machine:
    return Machine(house, tmp_path / "machine")


def names(machine: Machine) -> set[str]:
    return {path.name.partition("-")[0] for path in machine.root.iterdir() if not path.name.endswith(".lock")}


def test_workers_at_once_fetch_one_copy_which_later_ones_use(house: Running, machine: Machine) -> None:
    a = assigned(house, "s1", zipped({"d/train.csv": CSV, "d/test.csv": CSV}), "d.zip")
    _, near = asyncio.run(machine.open(a, shared=True))
    assert near.is_relative_to(house.core.store.root)
    assert (near / "train.csv").read_bytes() == CSV
    assert not machine.root.exists(), "on the service's disk nothing is copied"
    half = machine.root / f"{a.datasets[0].id}-{a.datasets[0].sha256[:16]}.part"
    half.mkdir(parents=True)  # of a worker that was killed
    (half / "archive.zip").write_bytes(b"PK")

    async def all_at_once() -> list[Path]:
        opened = await asyncio.gather(*(machine.open(a) for _ in range(3)))
        for copies, _ in opened:
            copies.close()
        return [folder for _, folder in opened]

    folders = asyncio.run(all_at_once())
    assert len(set(folders)) == 1
    assert {path.name: path.read_bytes() for path in folders[0].iterdir()} == {"train.csv": CSV, "test.csv": CSV}
    assert machine.once(a) == folders[0]
    assert len(machine.log) == 1, "it was fetched once"
    assert names(machine) == {a.datasets[0].id}


@pytest.mark.parametrize("harm", a_few(1, ["changed", "cut", "gone"]))
def test_a_damaged_data_set_is_told_and_no_copy_stays(house: Running, machine: Machine, harm: str) -> None:
    a = assigned(house, "s1", CSV, "a.csv")
    file = house.core.store.root / f"dataset-{a.datasets[0].id}" / "data.csv"
    file.unlink()
    if harm != "gone":
        file.write_bytes({"changed": CSV.replace(b"one", b"One", 1), "cut": CSV[:-1]}[harm])
    with pytest.raises(AssignmentFileError, match=f"The data set {a.datasets[0].id} did not arrive"):
        machine.once(a)
    assert names(machine) == set()


def test_what_nobody_uses_goes_when_the_room_is_used_up(
    house: Running, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (assigned(house, f"s{i}", CSV + b"x,%d\n" % i, "a.csv") for i in range(3))
    ids = [a.datasets[0].id for a in (first, second, third)]
    monkeypatch.setenv("LUTHIER_DATASET_CACHE_BYTES", str(4 * len(CSV)))
    copies, _ = asyncio.run(machine.open(first))
    machine.once(second)
    machine.once(third)
    assert names(machine) == {ids[0], ids[2]}, "the first is in use, the second is not"
    copies.close()
    monkeypatch.setenv("LUTHIER_DATASET_CACHE_BYTES", "0")
    machine.once(second)
    assert names(machine) == {ids[1]}
    assert dataset_copies.CACHE_BYTES > 10**9
