"""Data sets out of the records of Debian's packages, for fetch.py: tags of programs, and questions about packages.

The records are those of the Debian release that `apt` is set up for; each description has its package's licence.
"""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packages import ROOT, debian_records, write_csv, write_json_lines

DATA = ROOT / "data"
PROGRAMS = 3_000
CONTEXTS = 700
TAGS = {  # as the people of Debian tag packages: what we call it
    "interface::commandline": "command line",
    "interface::graphical": "graphical",
    "interface::daemon": "daemon",
    "interface::text-mode": "text mode",
    "network::client": "network client",
    "network::server": "network server",
    "use::gameplaying": "game",
    "use::converting": "converting",
    "use::editing": "editing",
    "works-with::audio": "audio",
    "works-with::image": "images",
    "works-with::text": "text",
    "works-with::mail": "mail",
    "works-with::db": "databases",
}
QUESTIONS = {
    "name": ("Which package is this: {synopsis}?", "What is called {synopsis}?"),
    "maintainer": ("Who maintains {name}?", "Who looks after {name}?"),
    "homepage": ("What is the homepage of {name}?", "Where on the web is {name} at home?"),
}


def package_tags() -> Path:
    """3,000 descriptions of programs with some of 14 tags that people gave them: jsonl, and csv with bars."""
    rows = []
    for record in debian_records():
        given = set(re.split(r",\s*", record.get("Tag", "")))
        labels = [label for tag, label in TAGS.items() if tag in given]
        if labels and "role::program" in given:
            synopsis, paragraph = _description(record)
            rows.append({"text": f"{synopsis}. {paragraph}".strip(), "label": labels})
    chosen = random.Random(0).sample(rows, PROGRAMS)  # noqa: S311
    write_csv(DATA / "package_tags.csv", ("text", "label"), ((row["text"], "|".join(row["label"])) for row in chosen))
    return write_json_lines(DATA / "package_tags.jsonl", chosen)


def package_questions() -> Path:
    """2,100 questions about pairs of packages, one in seven without an answer: rows, and SQuAD's json.

    The words of the questions are ours, and the same all over; texts, names, people and addresses are real.
    """
    generator = random.Random(0)  # noqa: S311
    records = [record for record in debian_records() if _is_readable(record)]
    generator.shuffle(records)
    folder, rows, articles = DATA / "package_questions", [], []
    for number in range(CONTEXTS):
        one, two, other = records[3 * number : 3 * number + 3]
        asked = list(_questions(generator, [one, two], other))
        context = asked[0]["context"]
        rows += [{"id": f"{number}-{i}", **question} for i, question in enumerate(asked)]
        answered = [
            {
                "id": f"{number}-{i}",
                "question": question["question"],
                "is_impossible": not question["answers"]["text"],
                "answers": [
                    {"text": text, "answer_start": start}
                    for text, start in zip(
                        question["answers"]["text"], question["answers"]["answer_start"], strict=True
                    )
                ],
            }
            for i, question in enumerate(asked)
        ]
        articles.append({"title": asked[0]["title"], "paragraphs": [{"context": context, "qas": answered}]})
    (folder / "squad.json").parent.mkdir(parents=True, exist_ok=True)
    (folder / "squad.json").write_text(
        json.dumps({"version": "v2.0", "data": articles}, ensure_ascii=False), encoding="utf-8"
    )
    write_json_lines(folder / "rows.jsonl", rows)
    return folder


def _is_readable(record: dict[str, str]) -> bool:
    """Return whether a package is described by a paragraph of its own, neither very short nor named in a question."""
    synopsis, paragraph = _description(record)
    return (
        "Homepage" in record
        and 60 <= len(paragraph) <= 400
        and 12 <= len(synopsis) <= 60
        and not record["Package"].startswith("lib")
        and not record["Package"].endswith(("-dev", "-dbg", "-doc", "-data", "-common"))
        and len(re.findall(re.escape(record["Package"]), paragraph, re.IGNORECASE)) == 0
    )


def _questions(generator: random.Random, pair: list[dict[str, str]], other: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield three questions about one context; one of them may be about a package that is not in it."""
    texts = []
    for record in pair:
        maintainer = record["Maintainer"].partition(" <")[0]
        texts.append(
            f"{record['Package']}: {_description(record)[1]} "
            f"It is maintained by {maintainer}. Its homepage is {record['Homepage']} ."
        )
    context = " ".join(texts)
    starts = (0, len(texts[0]) + 1)
    for kind, wordings in QUESTIONS.items():
        place = generator.randrange(2)
        record = other if generator.random() < 1 / 7 else pair[place]
        synopsis = _description(record)[0]
        question = generator.choice(wordings).format(name=record["Package"], synopsis=synopsis)
        answer = {
            "name": record["Package"],
            "maintainer": record["Maintainer"].partition(" <")[0],
            "homepage": record["Homepage"],
        }[kind]
        found = (
            []
            if record is other
            else [starts[place] + texts[place].rindex(answer) if kind != "name" else starts[place]]
        )
        yield {
            "title": ", ".join(record["Package"] for record in pair),
            "question": question,
            "context": context,
            "answers": {"text": [answer] if found else [], "answer_start": found},
        }


def _description(record: dict[str, str]) -> tuple[str, str]:
    """Return the line that sums up a package, and the first paragraph of its description, on one line."""
    synopsis, _, rest = record["Description"].partition("\n")
    return synopsis.strip().rstrip("."), " ".join(rest.split("\n.\n")[0].split())
