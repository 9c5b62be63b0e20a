"""Changes to a generated model's folder: files put into it, its configuration changed, its weights cut into shards.

put(folder, "onnx/model.onnx")           an empty JSON object under each name
configure(folder, num_hidden_layers=3)    values in its config.json
shards(folder, lost=None)                its weights as two files with an index
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"


def put(folder: Path, *names: str, text: str = "{}") -> None:
    """Write files with this text into a folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def configure(folder: Path, part: str = "config.json", **values: Any) -> None:
    """Change values in a JSON file of a model's folder, which is made if it is missing."""
    file = folder / part
    file.write_text(json.dumps((json.loads(file.read_text()) if file.exists() else {}) | values))


def shards(folder: Path, lost: str | None, index: Any = None) -> None:
    """Cut the weights into two files with an index; `lost` is taken away, `index` replaces the index."""
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[:20], "model-00002-of-00002.safetensors": names[20:]}
    for file, keys in parts.items():
        save_file({key: weights[key] for key in keys}, folder / file, {"format": "pt"})
    known = {"metadata": {}, "weight_map": {key: file for file, keys in parts.items() for key in keys}}
    put(folder, f"{WEIGHTS}.index.json", text=json.dumps(known if index is None else index))
    if lost:
        (folder / lost).unlink()
