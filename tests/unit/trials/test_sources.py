"""Sources: each is located once, and a change of a local one shows in its stamps."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.studies.dataset import Dataset, SplitFiles
from luthier.trials.data import located
from luthier.trials.data.hub_data import read_hub
from luthier.trials.data.located import HubDataset, LocalFile, LocalFolder, locate
from luthier.trials.data.readers import FILE_READERS
from luthier.trials.data.sources import source_stamps
from luthier.trials.errors import BadData
from luthier.trials.paths import FORMATS, local_path, set_project, set_uploaded
from tests.support.data import load_data
from tests.support.tiny import tiny_csv

SPEC_PATH = ("dataset", "source")


def test_the_formats_of_paths_are_those_that_have_a_reader() -> None:
    assert tuple(FILE_READERS) == FORMATS


def test_a_format_of_the_library_is_no_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` would look for files of that format in the working directory, outside the data roots, too."""
    from datasets import packaged_modules

    tiny_csv(tmp_path / "d.csv", rows=12)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", str(tmp_path / "elsewhere"))
    names = set(packaged_modules._PACKAGED_DATASETS_MODULES)
    assert {"csv", "json", "text", "imagefolder"} <= names
    for name in names:
        located = locate(name, *SPEC_PATH)
        assert isinstance(located, HubDataset)
        with pytest.raises(BadData, match=f"{name} is the name of a format, not of a data set"):
            read_hub(located, None, {"train": "train"}, ["text", "label"])


def test_what_exists_wins_over_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert isinstance(locate("rotten_tomatoes", *SPEC_PATH), HubDataset)
    (tmp_path / "rotten_tomatoes.py").write_text("raise SystemExit")
    assert isinstance(locate("rotten_tomatoes", *SPEC_PATH), HubDataset)
    (tmp_path / "rotten_tomatoes").mkdir()
    assert locate("rotten_tomatoes", *SPEC_PATH) == LocalFolder(
        "rotten_tomatoes", SPEC_PATH, tmp_path / "rotten_tomatoes"
    )


def test_a_source_is_a_file_a_folder_or_a_hub_data_set(tmp_path: Path) -> None:
    file = tiny_csv(tmp_path / "d.csv", rows=12)
    assert locate(str(file), *SPEC_PATH) == LocalFile(str(file), SPEC_PATH, file.resolve())
    assert locate(str(tmp_path), *SPEC_PATH) == LocalFolder(str(tmp_path), SPEC_PATH, tmp_path.resolve())
    assert locate("someone/some-data", *SPEC_PATH) == HubDataset("someone/some-data", SPEC_PATH)
    with pytest.raises(BadData, match="does not exist on this worker") as refused:
        locate(str(tmp_path / "absent.csv"), *SPEC_PATH, "train")
    assert refused.value.path == [*SPEC_PATH, "train"]


@pytest.mark.parametrize("kind", ["file", "files", "folder", "folder of splits"])
def test_each_source_is_resolved_once(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved: list[str] = []
    original = located.local_path

    def counted(text: str, *path: str) -> Path | None:
        resolved.append(text)
        return original(text, *path)

    monkeypatch.setattr(located, "local_path", counted)
    splits = ("train", "val") if kind == "folder of splits" else ("",)
    for split in splits if "folder" in kind else ():
        for i in range(12):
            image = tmp_path / split / ("cat", "dog")[i % 2] / f"{i}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(f"{split} {i}".encode())
    source: object = str(tmp_path)
    if "folder" not in kind:
        files = {name: str(tiny_csv(tmp_path / f"{name}.csv", rows=24)) for name in ("train", "test")}
        source = files if kind == "files" else files["train"]
    task = "image-classification" if "folder" in kind else "text-classification"
    load_data(Dataset.model_validate({"source": source}), task, seed=0)
    assert len(resolved) == len(set(resolved)) == {"files": 2, "folder of splits": 3}.get(kind, 1)


def test_stamps_change_with_the_file_and_with_the_link_that_names_it(tmp_path: Path) -> None:
    first, second = (tiny_csv(tmp_path / name, rows=12) for name in ("a.csv", "b.csv"))
    link = tmp_path / "today.csv"
    link.symlink_to(first)
    before = source_stamps(str(link))
    assert source_stamps(str(link)) == before
    assert source_stamps(str(first)) == before
    link.unlink()
    link.symlink_to(second)
    assert source_stamps(str(link)) == source_stamps(str(second)) != before
    second.write_text(second.read_text() + "what a day,joy\n")
    assert source_stamps(str(link)) == source_stamps(str(second))


def test_stamps_of_files_and_of_data_that_is_elsewhere(tmp_path: Path) -> None:
    file = tiny_csv(tmp_path / "d.csv", rows=12)
    files = SplitFiles(train=str(file), test=str(tmp_path / "absent.csv"))
    assert source_stamps(files) == (*source_stamps(str(file)), None)
    assert source_stamps("someone/some-data") == (None,)


@pytest.mark.parametrize("own", [None, "default", "vision"])
def test_a_project_reads_its_own_folder_and_what_all_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None
) -> None:
    for folder in ("all", "teams/default", "teams/vision", "teams/vision-2"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "d.csv").write_text("text,label\na,b\n")
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", f"{tmp_path}/all:{tmp_path}/teams/{{project}}")
    set_project(own)
    try:
        for folder in ("all", f"teams/{own or 'default'}"):
            assert local_path(str(tmp_path / folder / "d.csv")) == tmp_path / folder / "d.csv"
        other = "default" if own == "vision" else "vision"
        (tmp_path / "all" / "link.csv").symlink_to(tmp_path / "teams" / other / "d.csv")
        for foreign in (f"teams/{other}/d.csv", "teams/vision-2/d.csv", f"all/../teams/{other}/d.csv", "all/link.csv"):
            with pytest.raises(BadData, match="lies outside the folders"):
                local_path(str(tmp_path / foreign))
    finally:
        set_project(None)


ID = "0123456789abcdef"


@pytest.fixture
def uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an uploaded data set, outside the data roots."""
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", str(tmp_path / "roots"))
    folder = tmp_path / "uploaded"
    folder.mkdir()
    set_uploaded({ID: str(folder)})
    yield folder
    set_uploaded({})


def test_an_uploaded_table_is_read_outside_the_data_roots(uploaded: Path) -> None:
    tiny_csv(uploaded / "data.csv", rows=40)
    name = f"dataset:{ID}/data.csv"
    assert locate(f"dataset:{ID}", *SPEC_PATH) == LocalFile(name, SPEC_PATH, uploaded / "data.csv")
    assert locate(name, *SPEC_PATH) == LocalFile(name, SPEC_PATH, uploaded / "data.csv")
    data = load_data(Dataset(source=f"dataset:{ID}"), "text-classification", seed=0)
    own = load_data(Dataset(source=str(uploaded / "data.csv")), "text-classification", seed=0)
    assert data.fingerprint == own.fingerprint
    (uploaded / "link.csv").symlink_to("/etc/passwd")
    (uploaded / "names.csv").write_text(f"image,label\n{uploaded.parent / 'other.png'},a\n")
    (uploaded.parent / "other.png").write_bytes(b"1")
    with pytest.raises(BadData, match="is not in the data set"):
        locate(f"dataset:{ID}/link.csv", *SPEC_PATH)
    with pytest.raises(BadData, match="outside the folders data may be read from"):
        load_data(Dataset(source=f"dataset:{ID}/names.csv"), "image-classification", seed=0)


def test_an_uploaded_folder_has_files_and_folders(uploaded: Path) -> None:
    (uploaded / "a").mkdir()
    tiny_csv(uploaded / "a" / "train.csv", rows=40)
    tiny_csv(uploaded / "a" / "test.csv", rows=20, seed=1)
    assert locate(f"dataset:{ID}/a", *SPEC_PATH) == LocalFolder(f"dataset:{ID}/a", SPEC_PATH, uploaded / "a")
    data = load_data(Dataset(source=f"dataset:{ID}/a"), "text-classification", seed=0)
    assert data.rows["test"] == 20
    for text, told in {
        f"dataset:{ID}/b.csv": f"luthier dataset get {ID}",
        "dataset:fedcba9876543210": "it was deleted",
        "dataset:me": "names no data set",
    }.items():
        with pytest.raises(BadData, match=told):
            locate(text, *SPEC_PATH)


def test_a_path_that_is_not_there_leads_to_uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", str(tmp_path))
    with pytest.raises(BadData, match="`luthier dataset upload` brings a file to every worker"):
        locate(str(tmp_path / "gone.csv"), *SPEC_PATH)
    with pytest.raises(BadData, match=r"check the path\.$"):
        local_path(str(tmp_path / "gone"), "model")
