"""The files of the prefix cache: within their budgets, shared by workers, and removed with the last of them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.trials.prefix import shared_files
from luthier.trials.prefix.shared_files import machine_tiers
from luthier.trials.prefix.tiered_files import NoRoom, Tier, TieredFiles


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "prefixes"
    monkeypatch.setenv("LUTHIER_CACHE_DIR", str(folder))
    return folder


def files(tmp_path: Path, memory: int, disk: int) -> TieredFiles:
    return TieredFiles([Tier(tmp_path / "memory", memory), Tier(tmp_path / "disk", disk)])


def keep(files: TieredFiles, key: str, size: int) -> None:
    """Have a file of that key written, and let go of it."""

    def write(path: Path) -> None:
        assert path.stat().st_size == size, "its room is taken before it is written"
        within_budget(files)
        path.write_bytes(key[0].encode() * size)

    files.build(key, size, write, lambda: None).close()
    within_budget(files)
    for path in (path for tier in files.tiers for path in tier.folder.iterdir()):
        used = path.stat().st_mtime_ns - 10**9
        os.utime(path, ns=(used, used))  # a second earlier: the next use is later than all of these


def within_budget(files: TieredFiles) -> None:
    assert all(taken <= tier.bytes for taken, tier in zip(files.bytes(), files.tiers, strict=True))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_the_least_recently_used_goes_first_down_to_disk_and_then_for_good(tmp_path: Path) -> None:
    kept = files(tmp_path, 300, 200)
    for key in "abc":
        keep(kept, key, 100)
    assert names(tmp_path / "memory") == {"a", "b", "c"}
    assert names(tmp_path / "disk") == set()
    found = kept.find("a")
    assert found is not None
    assert found.read() == b"a" * 100
    found.close()
    keep(kept, "d", 100)
    keep(kept, "e", 100)
    assert names(tmp_path / "memory") == {"a", "d", "e"}
    assert names(tmp_path / "disk") == {"b", "c"}
    keep(kept, "f", 250)  # b and c make way for those that come down
    assert names(tmp_path / "memory") == {"f"}
    assert names(tmp_path / "disk") == {"d", "e"}
    assert kept.find("b") is None
    assert kept.bytes() == [250, 200]
    with pytest.raises(NoRoom):
        keep(kept, "g", 310)


def test_what_was_moved_down_keeps_the_time_of_its_last_use(tmp_path: Path) -> None:
    kept = files(tmp_path, 200, 200)
    for key in "abc":
        keep(kept, key, 100)  # a goes down
    keep(kept, "big", 150)  # so do b and c, the latest used of the three; a goes for good
    assert names(tmp_path / "disk") == {"b", "c"}


def test_a_folder_swept_between_opening_and_locking_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_files, "SHARED_MEMORY", tmp_path)
    monkeypatch.setenv("LUTHIER_CACHE_MEMORY", "1000")
    folder, lock = tmp_path / shared_files.NAME, shared_files.fcntl.flock
    swept = []

    def sweep_first(file: object, how: int) -> None:
        if not swept:
            swept.append(shutil.rmtree(folder))
        lock(file, how)  # type: ignore[arg-type]

    with monkeypatch.context() as racing:
        racing.setattr(shared_files.fcntl, "flock", sweep_first)
        kept = shared_files.machine_files()
    assert swept
    keep(kept, "a", 100)
    shared_files.release()


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    kept = files(tmp_path, 100, 0)
    keep(kept, "a", 80)
    used = kept.find("a")
    with pytest.raises(NoRoom, match="may keep"):
        keep(kept, "b", 80)
    assert used is not None
    assert used.read() == b"a" * 80
    used.close()
    keep(kept, "b", 80)
    assert names(tmp_path / "memory") == {"b"}


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    kept = files(tmp_path, 100, 100)
    with pytest.raises(ZeroDivisionError):
        kept.build("a", 80, lambda path: 1 / 0, lambda: None)  # type: ignore[arg-type,return-value]
    assert kept.bytes() == [0, 0]


def test_a_folder_of_somebody_elses_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o777)
    shared.chmod(0o777)
    monkeypatch.setenv("LUTHIER_CACHE_DIR", str(shared))
    assert shared not in [tier.folder for tier in machine_tiers()]


def test_what_lies_in_memory_goes_with_the_last_process_that_may_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / shared_files.NAME
    monkeypatch.setattr(shared_files, "SHARED_MEMORY", tmp_path)
    folder.mkdir(mode=0o700)
    other = subprocess.Popen([sys.executable, "-c", USER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    shared_files.sweep()
    assert (folder / "kept").exists()
    other.kill()
    other.communicate()
    shared_files.sweep()
    assert not folder.exists()


def test_a_process_leaves_no_file_open_at_its_end(tmp_path: Path) -> None:
    code = "from luthier.trials.prefix.shared_files import machine_files; assert machine_files().tiers"
    own = {"LUTHIER_CACHE_DIR": str(tmp_path / "prefixes"), "LUTHIER_CACHE_MEMORY": "0"}
    command = [sys.executable, "-W", "always", "-c", code]
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=True)
    assert done.stderr == ""  # else Python warns of each file that it closes itself
    assert (tmp_path / "prefixes" / shared_files.USERS).exists()


USER = """
import sys, time
from pathlib import Path
from luthier.trials.prefix import shared_files
shared_files.SHARED_MEMORY = Path(sys.argv[1])
import os
os.environ["LUTHIER_CACHE_MEMORY"] = "1000"
shared_files.machine_files().build("kept", 10, lambda path: None, lambda: None).close()
print("ready", flush=True)
time.sleep(60)
"""
