"""Files between a worker and the service's store: on a shared disk, and over HTTP."""

import asyncio
import errno
import hashlib
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from luthier.studies.protocol import AssignmentKind, Checkpoint, Reason
from luthier.studies.results import BaselineWeights
from luthier.studies.wire import FileRef
from luthier.trials.files import disk_problem, file_ref
from luthier.trials.worker.assignment_files import AssignmentFileError, AssignmentFolder, WorkerFolder, shares_disk
from luthier.trials.worker.client import LeaseLost, WorkerClient
from tests.support.scripted import TOKEN, Service
from tests.support.tiers import a_few
from tests.support.worker_processes import Starts

RESUME = b"weights and more" * 200_000


def with_client(service: Service, do: Callable[[WorkerClient], Awaitable[None]]) -> None:
    """Run `do` with a client, which is closed afterwards."""

    async def run() -> None:
        client = WorkerClient(service.url, TOKEN)
        try:
            await do(client)
        finally:
            await client.close()

    asyncio.run(run())


def test_a_disk_is_shared_when_its_mark_is_the_services(service: Service) -> None:
    assert shares_disk(service.assign(1, shared=True))
    assert not shares_disk(service.assign(2, shared=False))
    (service.store / ".mark").unlink()
    assert not shares_disk(service.assign(3, shared=True).model_copy(update={"store": str(service.store / "no" / "a")}))


def test_on_a_shared_disk_files_stay_where_they_are(service: Service, start: Starts) -> None:
    service.assign(1, shared=True, params={"steps": 3})
    service.assign(2, shared=True, kind=AssignmentKind.EVALUATE)
    start()
    evaluation = service.outcome(2).evaluation
    assert evaluation is not None
    assert file_ref(service.store / "a2" / "model.tar.gz") == evaluation.model
    named = [ref for report in service.reports(1) for ref in (report.best, report.resume)]
    assert len(named) == 6
    assert all(ref is not None and file_ref(service.store / "a1" / ref.name) == ref for ref in named)
    assert not service.files
    assert not [r for r in service.requests if r[0] != "POST"]


def test_a_remote_worker_sends_files_before_it_names_them(service: Service, start: Starts, tmp_path: Path) -> None:
    service.assign(1, params={"steps": 2})
    service.assign(2, kind=AssignmentKind.EVALUATE)
    process = start()
    outcome = service.outcome(2)
    assert outcome.evaluation is not None
    named = [(1, ref) for report in service.reports(1) for ref in (report.resume, report.best)]
    for id, ref in [*named, (2, outcome.evaluation.model)]:
        assert ref is not None
        content = service.files[id, ref.name]
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (ref.sha256, ref.bytes)
    order = [path.rpartition("/")[2] for _, path in service.requests if not path.endswith(("claim", "renew"))]
    assert order[:3] == ["a1-s1.resume", "a1-s1.best", "report"]
    assert order[-2:] == ["model.tar.gz", "finish"]
    assert not (service.store / "a1").exists()
    process.popen.terminate()
    process.popen.wait(5)
    assert not list((tmp_path / "home" / "worker").iterdir())


def test_a_remote_worker_goes_on_from_the_checkpoint(service: Service, start: Starts) -> None:
    checkpoint = Checkpoint(step=2, resume=service.keep(1, "a1-s2.resume", RESUME))
    service.assign(1, attempt=2, params={"steps": 3}, checkpoint=checkpoint)
    start()
    assert service.outcome(1).status == "complete"
    assert [report.step for report in service.reports(1)] == [3]
    assert f"resumed from {hashlib.sha256(RESUME).hexdigest()}" in service.log(1)
    assert (1, "a2-s3.resume") in service.files


def damage(service: Service, id: int, name: str, harm: str) -> FileRef:
    """Keep a file in the store, for workers near and far, which is not what the service names."""
    ref = service.keep(id, name, RESUME)
    broken = {"changed": b"W" + RESUME[1:], "cut": RESUME[:-1], "missing": None}[harm]
    folder = service.store / f"a{id}"
    folder.mkdir(parents=True, exist_ok=True)
    if broken is None:
        del service.files[id, ref.name]
    else:
        service.files[id, ref.name] = broken
        (folder / ref.name).write_bytes(broken)
    return ref


HARMS = pytest.mark.parametrize("harm", a_few(1, ["changed", "cut", "missing"]))
NEAR_AND_FAR = pytest.mark.parametrize("shared", [False, True])


@NEAR_AND_FAR
@HARMS
@pytest.mark.parametrize("role", a_few(1, ["resume", "best"]))
def test_a_trial_with_a_damaged_checkpoint_starts_over(
    service: Service, start: Starts, shared: bool, harm: str, role: str
) -> None:
    refs = {other: service.keep(1, f"a1-s2.{other}", RESUME) for other in ("resume", "best")}
    (service.store / "a1").mkdir(parents=True)
    for other in refs.values():
        (service.store / "a1" / other.name).write_bytes(RESUME)
    damaged = damage(service, 1, f"a1-s2.{role}", harm)
    if harm == "missing":
        (service.store / "a1" / damaged.name).unlink()
    checkpoint = Checkpoint(step=2, best_step=2, best_value=0.5, **refs)
    service.assign(1, attempt=2, shared=shared, params={"steps": 3}, checkpoint=checkpoint)
    start()
    assert service.outcome(1).status == "complete"
    assert [report.step for report in service.reports(1)] == [1, 2, 3]
    log = service.log(1)
    assert damaged.name in log
    assert "Attempt 2 starts at the beginning" in log
    assert "resumed from" not in log


@NEAR_AND_FAR
@HARMS
def test_a_damaged_winner_is_said_to_be_damaged(service: Service, start: Starts, shared: bool, harm: str) -> None:
    best = damage(service, 1, "a1-s2.best", harm)
    service.assign(1, shared=shared, kind=AssignmentKind.EVALUATE, checkpoint=Checkpoint(step=2, best=best))
    start()
    outcome = service.outcome(1)
    assert (outcome.status, outcome.reason) == ("failed", Reason.DAMAGED)
    assert outcome.problem is not None
    assert best.name in outcome.problem.message


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_winner_is_measured_also_where_the_baselines_weights_are_damaged(
    service: Service, tmp_path: Path, shared: bool, is_whole: bool
) -> None:
    weights = service.keep(1, "baseline.safetensors", b"weights")
    content = b"weights" if is_whole else b"wEights"
    service.files[1, weights.name] = content
    (service.store / "a1").mkdir(parents=True)
    (service.store / "a1" / weights.name).write_bytes(content)
    baseline = BaselineWeights(params={}, seed=1, weights=weights)
    lines: list[str] = []

    async def open_folder(client: WorkerClient) -> None:
        a = service.assign(1, shared=shared, kind=AssignmentKind.EVALUATE, baseline=baseline)
        folder = AssignmentFolder(a, client, tmp_path / "files")
        opened = await folder.open(lines.append)
        assert opened.baseline == (baseline if is_whole else None)
        assert not is_whole or (folder.folder / weights.name).read_bytes() == b"weights"

    with_client(service, open_folder)
    assert [line.partition(":")[0] for line in lines] == ([] if is_whole else ["The baseline is not measured"])


def test_a_file_is_on_the_disk_before_it_is_named(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its content, its name in the folder, and the folder's name: a power cut after the report takes none of them."""
    synced: list[Path] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve())

    async def send(client: WorkerClient) -> None:
        place = AssignmentFolder(service.assign(1, shared=True), client, tmp_path / "files")
        await place.open(print)
        for name in ("a1-s1.best", "a1-s2.best"):
            (place.folder / name).write_bytes(b"weights")
            await place.send([file_ref(place.folder / name)])

    monkeypatch.setattr(os, "fsync", fsync)
    with_client(service, send)
    folder = service.store / "a1"
    assert synced == [folder / "a1-s1.best", folder, folder, service.store, folder / "a1-s2.best", folder]


def test_a_file_that_changed_on_its_way_is_not_kept(service: Service, tmp_path: Path) -> None:
    async def send(client: WorkerClient) -> None:
        place = AssignmentFolder(service.assign(1), client, tmp_path / "files")
        await place.open(print)
        path = place.folder / "best.safetensors"
        path.write_bytes(b"what was reported")
        ref = file_ref(path)
        for later in (b"what came after it", b"what came then ...", b"longer than what was reported"):
            path.write_bytes(later)
            with pytest.raises(AssignmentFileError, match=r"did not take the file best\.safetensors"):
                await place.send([ref])
        assert not service.files
        path.write_bytes(b"what was reported")
        await place.send([ref, None, ref])
        assert not path.exists()
        with pytest.raises(AssignmentFileError, match="gone"):
            await place.send([ref.model_copy(update={"sha256": "0" * 64})])

    with_client(service, send)
    assert service.files == {(1, "best.safetensors"): b"what was reported"}


def test_files_need_the_lease(service: Service, tmp_path: Path) -> None:
    async def send(client: WorkerClient) -> None:
        assignment = service.assign(1).model_copy(update={"token": "lease-0-secret"})
        place = AssignmentFolder(assignment, client, tmp_path / "files")
        await place.open(print)
        (place.folder / "best").write_bytes(b"best")
        with pytest.raises(LeaseLost):
            await place.send([file_ref(place.folder / "best")])

    with_client(service, send)


def test_an_upload_waits_for_a_service_that_is_away(service: Service, start: Starts) -> None:
    service.status["files"] = 503
    service.assign(1, params={"steps": 1})
    start()
    service.wait(lambda s: len([r for r in s.requests if r[0] == "PUT"]) > 2)
    assert not service.reports(1)
    service.status.clear()
    assert service.outcome(1).status == "complete"
    assert len(service.files) == 2


def test_a_download_that_breaks_off_starts_again(service: Service, start: Starts) -> None:
    ref = service.keep(1, "resume", RESUME)
    service.down = True

    async def fetch(client: WorkerClient) -> None:
        assignment = service.assign(1, checkpoint=Checkpoint(step=1, resume=ref))
        place = AssignmentFolder(assignment, client, service.store.parent / "files")
        opening = asyncio.create_task(place.open(print))
        await asyncio.to_thread(service.wait, lambda s: s.requests)
        service.down = False
        await opening
        assert (place.folder / "resume").read_bytes() == RESUME
        place.close()
        assert not place.folder.exists()

    with_client(service, fetch)


def test_what_a_killed_worker_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path))
    living, dead = WorkerFolder(), tmp_path / "worker" / "files-dead"
    dead.mkdir()
    (dead / ".lock").touch()
    (dead / "resume").write_bytes(b"weights")
    other = WorkerFolder()
    assert living.path.exists()
    assert other.path.exists()
    assert not dead.exists()
    living.remove()
    other.remove()
    assert not list((tmp_path / "worker").iterdir())


@pytest.mark.parametrize("taken", ["free", "ours", "open to others", "another's", "a link"])
def test_a_temporary_folder_is_this_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: str) -> None:
    monkeypatch.delenv("LUTHIER_HOME", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    root = tmp_path / f"luthier-worker-{os.getuid()}"
    if taken == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        root.symlink_to(tmp_path / "elsewhere")
    elif taken != "free":
        root.mkdir(mode=0o700)
    if taken == "open to others":
        root.chmod(0o777)
    if taken == "another's":
        user = os.getuid()
        root.rename(tmp_path / f"luthier-worker-{user + 1}")
        monkeypatch.setattr(os, "getuid", lambda: user + 1)
        root = tmp_path / f"luthier-worker-{user + 1}"
    files = WorkerFolder()
    assert (files.path.parent == root) == (taken in ("free", "ours"))
    assert files.path.parent.stat().st_mode & 0o777 == 0o700
    files.remove()


def test_a_full_disk_is_told_from_other_errors(tmp_path: Path) -> None:
    assert disk_problem(OSError(errno.ENOSPC, "No space left on device"), tmp_path) is not None
    assert disk_problem(RuntimeError("I/O error: No space left on device (os error 28)"), tmp_path) is not None
    assert disk_problem(OSError(errno.EACCES, "Permission denied"), tmp_path) is None
