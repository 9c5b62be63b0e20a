"""Where data comes from: local files inside the data roots, and the hub.

Local paths must lie inside the folders of LUTHIER_DATA_ROOTS (separated by colons, symlinks resolved); `/` means
anything the user may read, and so does no such variable, but a worker always sets it. URLs are refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from luthier.studies.text import one_line
from luthier.trials.data.tabular import FILE_READERS, Table
from luthier.trials.errors import BadData
from luthier.trials.paths import FORMATS, local_path


def read_file(text: str, wanted: Iterable[str], *path: str) -> Table:
    """Read the wanted columns of a local file. Raises BadData."""
    file = local_path(text, *path)
    kind = Path(text).suffix.lstrip(".").lower()
    if file is not None and file.is_dir():
        raise BadData(f"{text} is a folder; give a file, or one file per split as train, validation and test.", *path)
    if file is None or kind not in FORMATS:
        raise BadData(f"{text} is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file.", *path)
    try:
        return replace(FILE_READERS[kind](file, text, set(wanted), path), folder=file.parent)
    except OSError as error:
        raise BadData(f"{text} cannot be read: {error.strerror or error}. Check its permissions.", *path) from None


def read_hub(hub_id: str, subset: str | None, splits: Mapping[str, str], wanted: Iterable[str]) -> dict[str, Table]:
    """Splits of a hub data set. `splits` maps train, validation, test to the data set's own split names.

    Raises BadData; no code of the data set is run.
    """
    import datasets
    from huggingface_hub.constants import HF_HUB_CACHE

    path = ("dataset", "source")
    datasets.disable_progress_bars()
    try:
        found = datasets.load_dataset(hub_id, name=subset)
    except Exception as error:  # the library raises dozens of kinds, its own and the network's
        reason = one_line(error)
        text = f"{hub_id} is neither a file on this worker nor a data set that could be loaded from the hub: {reason}"
        raise BadData(text, *path) from None
    wanted, tables = set(wanted), {}
    for role, split in splits.items():
        if split not in found:
            where = ("dataset", role) if role != "train" else path
            raise BadData(f"{hub_id} has no split {split!r}; it has {', '.join(map(str, found))}.", *where)
        part = found[split]
        header = list(part.column_names)
        inner = {c: getattr(f, "feature", f) for c, f in part.features.items()}
        names = {c: f.names for c, f in inner.items() if isinstance(f, datasets.ClassLabel)}
        for column, feature in part.features.items():
            if isinstance(feature, datasets.Image | datasets.Audio):
                part = part.cast_column(column, type(feature)(decode=False))
        columns = {c: part.select_columns([c])[:][c] for c in header if c in wanted}
        caches = (Path(datasets.config.HF_DATASETS_CACHE).resolve(), Path(HF_HUB_CACHE).resolve())
        name = f"{hub_id} ({split})"
        tables[role] = Table(name, path, header, columns, len(part), names, own_folders=caches)
    return tables
