"""Rows with the same input: on one side of every split that is drawn; what cannot be is counted, and so is what
contradicts."""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.studies.dataset import Dataset
from luthier.studies.findings import Severity
from luthier.trials.data.load import Data
from luthier.trials.data.repeats import first_rows, joined_groups, plain_text
from luthier.trials.data.splits import Split, draw_splits
from luthier.trials.errors import BadData
from tests.support.data import load_data
from tests.support.findings import about
from tests.support.tiers import a_few
from tests.support.tiny import tiny_rows
from tests.unit.trials.inputs.media_trees import jpeg

Rows = Sequence[tuple[Any, ...]]
TEXT = "text-classification"


def written(path: Path, rows: Rows, names: Sequence[str] = ("text", "label")) -> str:
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    return str(path)


def load(source: Any, task: str = TEXT, seed: int = 0, semantics: int = 2, verify: bool = True, **options: Any) -> Data:
    return load_data(Dataset.model_validate({"source": source, **options}), task, seed, verify, semantics)


def sides(data: Data, plain: Callable[[Any], Any] = lambda value: value) -> dict[Any, set[str]]:
    """Input -> the splits that it is in."""
    found: dict[Any, set[str]] = defaultdict(set)
    for name, split in data.splits.items():
        for values in zip(*split.columns.values(), strict=True):
            found[tuple(map(plain, values))].add(name)
    return found


def as_key(value: Any) -> Any:
    """Return what a row's input is to a reader."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, Path):
        return value.read_bytes()
    return plain_text(value) if isinstance(value, str) else value


DISTINCT = [(f"{text} {i}", label) for i, (text, label) in enumerate(tiny_rows(120, 3))]
FORMS = ["a fine  film", " a fine film", "a fine\tfilm\n", "a\u00a0fine film", "a fine film"]
ACCENTS = ["caf\u00e9 noir", "cafe\u0301 noir"]


def repeated(seed: int = 0) -> list[tuple[str, str]]:
    """Of 120 inputs, half stand two to nine times, some with another label."""
    draw = random.Random(seed)
    rows = [*DISTINCT, *(row for row in DISTINCT[:60] for _ in range(draw.randint(1, 8)))]
    rows += [(text, "joy") for text, _ in DISTINCT[:9]]
    draw.shuffle(rows)
    return rows


def tables(folder: Path) -> dict[str, tuple[Any, str, dict[str, Any]]]:
    """Name -> source, task and options of data whose inputs repeat."""
    pairs = [(text, f"second {i % 2}", label) for i, (text, label) in enumerate(repeated())]
    words = [(text.split(), ["O" if i else "B-X" for i, _ in enumerate(text.split())]) for text, _ in repeated()]
    pictures = [(folder / f"{i}.jpg", i % 2) for i in range(60)]
    for i, (file, _) in enumerate(pictures):
        file.write_bytes(jpeg(i % 25))
    whole = [(text, label, f"g{i % 40}") for i, (text, label) in enumerate(DISTINCT)]
    grouped = [*whole, *((text, label, f"h{i}") for i, (text, label) in enumerate(repeated()[:200]))]
    spaced = [
        (f"{text}{' ' * (i % 3)}".replace(" ", " " * (1 + i % 2)), label) for i, (text, label) in enumerate(repeated())
    ]
    return {
        "texts": (written(folder / "t.jsonl", repeated()), TEXT, {}),
        "blanks": (written(folder / "b.jsonl", spaced), TEXT, {}),
        "pairs": (
            written(folder / "p.jsonl", pairs, ("a", "b", "label")),
            TEXT,
            {"columns": {"text": "a", "text_pair": "b"}},
        ),
        "words": (written(folder / "w.jsonl", words, ("tokens", "ner_tags")), "token-classification", {}),
        "images": (
            written(folder / "i.jsonl", [(str(f), i) for f, i in pictures], ("image", "label")),
            "image-classification",
            {},
        ),
        "groups": (written(folder / "g.jsonl", grouped, ("text", "label", "who")), TEXT, {"columns": {"group": "who"}}),
    }


@pytest.mark.parametrize("draw", ["random", "stable"])
@pytest.mark.parametrize("kind", ["texts", "blanks", "pairs", "words", "images", "groups"])
@pytest.mark.parametrize("options", a_few(2, [{}, {"limit": 55}, {"validation": 0.3, "test": 0.3}, {"test": 0}]))
def test_an_input_is_on_one_side(kind: str, draw: str, options: dict[str, Any], tmp_path: Path) -> None:
    source, task, columns = tables(tmp_path)[kind]
    data = load(source, task, draw=draw, **columns, **options)
    whole = load(source, task, draw=draw, **columns, **options, semantics=1)
    assert all(len(splits) == 1 for splits in sides(data, as_key).values())
    if draw == "random":
        assert any(len(splits) > 1 for splits in sides(whole, as_key).values()), "they were split before"
    assert sum(data.rows.values()) == sum(whole.rows.values())
    assert data == load(source, task, draw=draw, **columns, **options)
    if kind == "groups":
        owners: dict[str, set[str]] = defaultdict(set)
        for name, split in data.splits.items():
            for group in split.groups or ():
                owners[group].add(name)
        assert all(len(splits) == 1 for splits in owners.values())
    elif draw == "random" and kind != "images":
        for name in data.splits:
            assert abs(data.rows[name] - whole.rows[name]) <= 1, "sizes stay as exact as inputs allow"


BEFORE = {  # the start of the fingerprint, which covers every split, of the version that knew no repeats
    "random": ["8bc7a5d32d68", "091470bb3c57", "5ffecb71a45b", "0d1e9e724318"],
    "stable": ["963d6a76a341", "a5e92bbcab01", "d36255bfe0dd", "74524843c5c5"],
}


@pytest.mark.parametrize("draw", ["random", "stable"])
@pytest.mark.parametrize("number", range(4))
def test_data_without_repeats_are_split_as_before(draw: str, number: int, tmp_path: Path) -> None:
    options: dict[str, Any] = [{}, {"limit": 55}, {"test": 0}, {"columns": {"group": "who"}}][number]
    rows = [(f"{text}  blanks {i}", label, f"g{i % 30}") for i, (text, label) in enumerate(DISTINCT)]
    source = written(tmp_path / "d.jsonl", rows, ("text", "label", "who"))
    data = load(source, seed=3, draw=draw, **options)
    assert data.fingerprint.startswith(BEFORE[draw][number])
    assert data.splits == load(source, seed=3, draw=draw, semantics=1, **options).splits
    assert not about(data, "repeats", "contradictory-labels", "repeats-across-splits")


@pytest.mark.parametrize("text", FORMS)
def test_white_space_is_no_difference(text: str) -> None:
    assert plain_text(text) == "a fine film"
    long = text * 20_000
    assert plain_text(long) == " ".join(long.split()), "long texts, which are not cut into a list of words"


def test_what_is_the_same_and_what_is_not() -> None:
    assert plain_text(ACCENTS[0]) == plain_text(ACCENTS[1])
    for other in ("A fine film", "a fine film.", "afine film", "a fine\u200bfilm"):
        assert plain_text(other) != "a fine film"
    rows = {"text": ["a b", "a", "a  b", "a"], "text_pair": ["c", "b c", "c ", "b"]}
    assert first_rows({"train": rows})["train"].tolist() == [0, 1, 0, 3]
    words = {"tokens": [["a b"], ["a", "b"], ["a", "b"]]}
    assert first_rows({"train": words, "test": words})["test"].tolist() == [0, 1, 1]


@given(
    st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.integers(0, 3)), min_size=1, max_size=60),
    st.sampled_from([(0.15, 0.15), (0.3, 0.0), (0.5, 0.4), (0.01, 0.01)]),
    st.booleans(),
    st.integers(0, 5),
)
@settings(max_examples=300, deadline=None, database=None, derandomize=True)
def test_any_table_with_repeats(
    rows: list[tuple[str, int]], shares: tuple[float, float], stable: bool, seed: int
) -> None:
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    options = {"source": "s", "validation": shares[0], "test": shares[1], "draw": "stable" if stable else "random"}
    dataset = Dataset.model_validate(options)
    pool = Split({"text": texts}, labels, strata=list(labels))
    first = first_rows({"train": pool.columns})["train"]
    try:
        splits = draw_splits({"train": pool}, dataset, seed, first)
    except BadData:
        names = [name for name, share in zip(("validation", "test"), shares, strict=True) if share]
        assert len(set(texts)) < len(set(labels)) + len(names) or len(set(texts)) == len(names)
        return
    assert Counter(
        row for split in splits.values() for row in zip(*split.columns.values(), split.targets, strict=True)
    ) == Counter(rows)
    owners = defaultdict(set)
    for name, split in splits.items():
        assert len(split)
        for text in split.columns["text"]:
            owners[text].add(name)
    assert all(len(names) == 1 for names in owners.values())
    assert set(splits["train"].targets) == set(labels), "every class keeps a row to train on"
    assert splits == draw_splits({"train": pool}, dataset, seed, first)
    if len(set(texts)) == len(texts):
        assert splits == draw_splits({"train": pool}, dataset, seed)


@pytest.mark.parametrize("seed", range(5))
def test_sizes_and_strata_stay_exact(seed: int) -> None:
    draw = random.Random(seed)
    rows = [(f"{i}", i % 4) for i in range(2000)]
    rows += [row for row in rows[:400] for _ in range(draw.randint(1, 20))]
    draw.shuffle(rows)
    pool = Split({"text": [text for text, _ in rows]}, [n for _, n in rows], strata=[n for _, n in rows])
    dataset = Dataset.model_validate({"source": "s", "validation": 0.1, "test": 0.2})
    first = first_rows({"train": pool.columns})["train"]
    splits, before = draw_splits({"train": pool}, dataset, seed, first), draw_splits({"train": pool}, dataset, seed)
    for name, split in splits.items():
        assert Counter(split.targets) == Counter(before[name].targets)


def test_a_row_keeps_its_side_when_repeats_are_added(tmp_path: Path) -> None:
    rows = [(f"{text} {i}", label) for i, (text, label) in enumerate(tiny_rows(600, 2))]
    before = sides(load(written(tmp_path / "a.jsonl", rows), draw="stable"), as_key)
    added = [(text, label) for text, label in rows[:20]] + [(f" {text}  ", label) for text, label in rows[20:40]]
    after = sides(load(written(tmp_path / "b.jsonl", [*rows, *added]), draw="stable"), as_key)
    moved = sum(before[text] != after[text] for text in before)
    assert moved <= 8, "the few at the edges"
    random_draw = sides(load(written(tmp_path / "b.jsonl", [*rows, *added])), as_key)
    assert sum(before[text] != random_draw[text] for text in before) > 200


def test_groups_that_share_inputs_are_one_with_the_name_of_the_largest() -> None:
    groups = ["a", "a", "a", "b", "b", "c", "d"]
    first = first_rows({"train": {"text": ["1", "2", "3", "4", "1", "4", "5"]}})["train"]
    assert joined_groups(groups, first) == ["a", "a", "a", "a", "a", "a", "d"]
    assert joined_groups(groups[:4], first[:4]) == groups[:4]


@pytest.mark.parametrize(
    ("texts", "options", "said"),
    [
        (["yes", "no"], {}, "100 rows hold only 2 different texts: too few to draw validation and test from"),
        (["yes", "no", "yes "], {}, "100 rows hold only 2 different texts"),
        (["yes", "no", "so"], {"test": 0}, None),
        (["yes", "no"], {"test": 0}, "100 rows hold only 2 different texts: too few to draw validation from"),
        (["yes", "no", "so", "or"], {}, None),
    ],
)
def test_too_few_inputs_are_refused(
    texts: list[str], options: dict[str, Any], said: str | None, tmp_path: Path
) -> None:
    rows = [(texts[i % len(texts)], "xy"[i % len(texts) % 2]) for i in range(100)]
    source = written(tmp_path / "d.jsonl", rows)
    if said is None:
        assert all(load(source, **options).rows[name] for name in ("train", "validation"))
        return
    with pytest.raises(BadData, match=said) as refused:
        load(source, **options)
    assert refused.value.path[0] == "dataset"
    assert "stay on one side; add rows with others, or give" in refused.value.message
    assert load(source, **options, semantics=1).rows["validation"], "it was split before"


def test_repeats_across_given_splits_are_counted(tmp_path: Path) -> None:
    rows = [*DISTINCT, *DISTINCT[:5]]
    train = written(tmp_path / "train.jsonl", rows)
    test = written(tmp_path / "test.jsonl", [*((f" {text}", label) for text, label in DISTINCT[:7]), ("new", "joy")])
    dev = written(tmp_path / "dev.jsonl", [("new", "joy"), ("newer", "fear"), DISTINCT[3]])
    data = load({"train": train, "validation": dev, "test": test})
    [finding] = about(data, "repeats-across-splits")
    assert (finding.severity, finding.count) == (Severity.WARNING, 1 + 8)
    for part in (
        f"1 of the 3 rows of validation ({dev}) are in train ({train}) too",
        f"7 of the 8 rows of test ({test}) are in train ({train}) too",
        f"2 of the 8 rows of test ({test}) are in validation ({dev}) too",
    ):
        assert part in finding.message
    text = "day was a with with superb a rather very quite seems … (cut)"
    assert finding.examples[0] == f'"{text}": validation row 3 (line 3), train row 4 (line 4)'
    assert finding.cure.startswith(f"Remove these rows from validation ({dev}) and test ({test})")
    [inside] = about(data, "repeats")
    assert (inside.severity, inside.count) == (Severity.NOTE, 5)
    assert f"5 of the 125 rows of train ({train}) repeat an earlier row" in inside.message
    assert data.rows == {"train": 125, "validation": 3, "test": 8}, "given splits stay as they are"
    drawn = load({"train": train, "test": test})
    [finding] = about(drawn, "repeats-across-splits")
    assert finding.count == 7
    assert all(len(names - {"test"}) <= 1 for names in sides(drawn, as_key).values())
    assert not about(load({"train": train, "test": test}, verify=False), "repeats-across-splits")
    assert not about(load({"train": train, "test": test}, semantics=1), "repeats-across-splits", "repeats")


def test_repeats_in_a_file_are_noted(tmp_path: Path) -> None:
    source = written(tmp_path / "d.jsonl", [*DISTINCT, *[DISTINCT[7]] * 5, DISTINCT[2]])
    [finding] = about(load(source), "repeats")
    assert finding.count == 6
    assert finding.message.startswith(f"6 of the 126 rows of {source} repeat an earlier row")
    rows = "row 8 (line 8), row 121 (line 121), row 122 (line 122), row 123 (line 123) and 2 more"
    assert finding.examples[0] == f'"{DISTINCT[7][0]}": {rows}'
    assert len(finding.examples) == 2
    sampled = load(written(tmp_path / "s.jsonl", [DISTINCT[i % 120] for i in range(1200)]), limit=600)
    [finding] = about(sampled, "repeats")
    assert "of the 600 rows" in finding.message, "of the rows that are used"
    assert finding.count >= 480


def test_contradictory_labels(tmp_path: Path) -> None:
    rows = [*DISTINCT, (f"{DISTINCT[0][0]} ", "fear"), (DISTINCT[4][0], "joy"), (DISTINCT[4][0], "fear"), DISTINCT[9]]
    [finding] = about(load(written(tmp_path / "d.jsonl", rows)), "contradictory-labels")
    assert (finding.severity, finding.count) == (Severity.WARNING, 2)
    assert finding.message.startswith("Texts with more than one label: 2, in 5 rows")
    assert finding.examples == [
        f'"{DISTINCT[0][0]}": joy in row 1 (line 1), fear in row 121 (line 121)',
        f'"{DISTINCT[4][0]}": anger in row 5 (line 5), joy in row 122 (line 122), fear in row 123 (line 123)',
    ]
    assert finding.cure
    train = written(tmp_path / "train.jsonl", DISTINCT)
    test = written(tmp_path / "test.jsonl", [(DISTINCT[0][0], "fear")])
    [finding] = about(load({"train": train, "test": test}), "contradictory-labels")
    assert finding.examples == [f'"{DISTINCT[0][0]}": joy in train row 1 (line 1), fear in test row 1 (line 1)']


def test_contradictory_tags(tmp_path: Path) -> None:
    rows = [([f"w{i}", "said", "so"], ["B-PER", "O", "O"]) for i in range(20)]
    rows += [(["w3", "said", "so"], ["B-ORG", "O", "O"]), (["w4", "said", "so"], ["B-PER", "O", "O"])]
    source = written(tmp_path / "d.jsonl", rows, ("tokens", "ner_tags"))
    data = load(source, "token-classification")
    [finding] = about(data, "contradictory-labels")
    assert finding.count == 1
    assert finding.message.startswith("Sentences with more than one label: 1, in 2 rows")
    assert finding.examples == ['"w3 said so": B-PER O O in row 4 (line 4), B-ORG O O in row 21 (line 21)']


def test_one_image_under_two_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for label, numbers in (("cat", range(12)), ("dog", range(11, 24))):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in numbers:
            (tmp_path / "pets" / label / f"{number}.jpg").write_bytes(jpeg(number))
    data = load(str(tmp_path / "pets"), "image-classification")
    [finding] = about(data, "contradictory-labels")
    assert finding.message.startswith("Images with more than one label: 1, in 2 rows")
    assert finding.examples == ["cat in cat/11.jpg, dog in dog/11.jpg"]
    from luthier.trials.data import row_digests

    reads: Counter[Path] = Counter()
    real = row_digests.sha256_file
    monkeypatch.setattr(row_digests, "sha256_file", lambda file: (reads.update([file]), real(file))[1])
    again = load(str(tmp_path / "pets"), "image-classification", draw="stable", limit=20, verify=False)
    assert set(reads.values()) == {1}, "each file is read once for all digests"
    assert len(again.splits["train"])


def test_a_cell_of_millions_of_characters_is_cut_in_examples(tmp_path: Path) -> None:
    long = "many words " * 100_000
    data = load(written(tmp_path / "d.jsonl", [*DISTINCT, (long, "joy"), (f"{long} ", "fear")]))
    [finding] = about(data, "contradictory-labels")
    assert len(finding.examples[0]) < 200
