"""Data sets of the hub, downloaded by the library `datasets`; no code of a data set is run.

`locate` takes a text for one where it is no local path, `chosen_tables` reads it.
"""

import functools
import pkgutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from luthier.studies.text import one_line
from luthier.trials.data.arrow import class_names
from luthier.trials.data.located import HubDataset
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData


def read_hub(
    located: HubDataset, subset: str | None, splits: Mapping[str, str], columns: Iterable[str]
) -> dict[str, Table]:
    """Read splits of a hub data set, downloaded first unless it is in the cache.

    Args:
        located: The data set.
        subset: The name of one of its configurations, or None for the only one.
        splits: train, validation, test -> the data set's own name for it.
        columns: The columns to read, as far as a split has them.

    Returns:
        train, validation, test -> its table.

    Raises:
        BadData: The data set cannot be loaded, or lacks a split.
    """
    import datasets

    if located.text in _format_names():  # the library would read the files of this worker's working directory
        raise BadData(
            f"{located.text} is the name of a format, not of a data set: give a file, or a hub id with its owner.",
            *located.path,
        )
    datasets.disable_progress_bars()
    try:
        parts = datasets.load_dataset(located.text, name=subset)
    except Exception as error:  # the library raises dozens of kinds, its own and the network's
        reason = one_line(error)
        raise BadData(
            f"{located.text} is neither a file on this worker (`luthier dataset upload` brings one to every worker) "
            f"nor a data set that could be loaded from the hub: {reason}",
            *located.path,
        ) from None
    tables = {}
    for role, split in splits.items():
        if split not in parts:
            path = ("dataset", role) if role != "train" else located.path
            raise BadData(f"{located.text} has no split {split!r}; it has {', '.join(map(str, parts))}.", *path)
        tables[role] = _hub_table(parts[split], f"{located.text} ({split})", located.path, set(columns))
    return tables


@functools.cache
def _format_names() -> set[str]:
    """Return the names that the library `datasets` takes for a format ("csv", "imagefolder") and not for a hub id."""
    from datasets import packaged_modules

    return {module.name for module in pkgutil.iter_modules(packaged_modules.__path__)}


def _hub_table(part: Any, name: str, path: tuple[str, ...], selection: set[str]) -> Table:
    """Turn a `datasets.Dataset` into a table; images and sounds are not decoded."""
    import datasets
    from huggingface_hub.constants import HF_HUB_CACHE

    header = list(part.column_names)
    names = class_names(part.features.to_dict())
    for column, feature in part.features.items():
        if isinstance(feature, datasets.Image | datasets.Audio):
            part = part.cast_column(column, type(feature)(decode=False))
    columns = {column: part.select_columns([column])[:][column] for column in header if column in selection}
    caches = (Path(datasets.config.HF_DATASETS_CACHE).resolve(), Path(HF_HUB_CACHE).resolve())
    return Table(name, path, header, columns, len(part), names, own_folders=caches)
