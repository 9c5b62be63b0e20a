"""Tokenizers as people have them: what a model has no embedding for is refused before its first step."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers as hf

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.strategy import Generation
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.errors import BadData
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.lookups import check_lookups
from luthier.trials.model import libraries
from luthier.trials.tasks.registry import task_code
from luthier.trials.training.model_cache import ModelCache
from tests.support import tiny_writing
from tests.support.architectures import ARCHITECTURES, TEXT
from tests.support.findings import about
from tests.support.tiny import tiny_bpe, tiny_rows, tiny_tokenizer
from tests.support.trials import Memory

Assign = Callable[..., Assignment]


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT, which has embeddings for 128 ids and 64 places."""
    return Path(shutil.copytree(model, tmp_path / "copy"))


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def refused(assign: Assign, session: Memory, **spec: Any) -> str:
    with pytest.raises(BadData) as error:
        inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache())
    assert error.value.path == ["model"]
    return error.value.message


def add_tokens(folder: Path, count: int, **special: str) -> Any:
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"word{i}" for i in range(count)])
    tokenizer.add_special_tokens(special)
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_an_added_token_without_embedding_is_refused_in_any_split(
    assign: Assign, session: Memory, copy: Path, tmp_path: Path, split: str
) -> None:
    tokenizer = add_tokens(copy, 60)
    beyond = next(n for n in range(60) if tokenizer.convert_tokens_to_ids(f"word{n}") == 128)
    rows = [{"text": text, "label": label} for text, label in tiny_rows(24)]
    changed = [{"text": f"the word{beyond} film", "label": rows[0]["label"]}, *rows[1:]]
    source = {
        name: write(tmp_path / f"{name}.jsonl", changed if name == split else rows)
        for name in ("train", "validation", "test")
    }
    said = refused(assign, session, model=str(copy), dataset={"source": source})
    assert said == (
        f"{copy}: its tokenizer (BertTokenizer) makes the id 128 ('word{beyond}'), and the model has 128 embeddings; "
        f"first in row 1 of the {split} split ('[CLS] the word{beyond} film [SEP]'). Save the tokenizer that "
        "belongs to the model into its folder, or, where tokens were added to it, call "
        "model.resize_token_embeddings(len(tokenizer)) and save both."
    )


def test_a_token_beyond_the_shortest_max_length_is_found(
    assign: Assign, session: Memory, copy: Path, tmp_path: Path
) -> None:
    """Every length of the space is tried, not the baseline's."""
    add_tokens(copy, 60)
    rows = [{"text": f"{text} {'the ' * 30} word59", "label": label} for text, label in tiny_rows(24)]
    spec = {"model": str(copy), "dataset": {"source": write(tmp_path / "d.jsonl", rows)}}
    space = {"learning_rate": 1e-3, "max_length": [16, 60]}
    assert "makes the id" in refused(assign, session, **spec, space=space)


def test_added_tokens_that_no_example_has_are_no_trouble(assign: Assign, session: Memory, copy: Path) -> None:
    add_tokens(copy, 60)
    inspect(assign(AssignmentKind.INSPECT, spec={"model": str(copy)}), session, ModelCache())


def test_a_foreign_tokenizer_is_refused_for_words_too(
    assign: Assign, session: Memory, copy: Path, tmp_path: Path
) -> None:
    (copy / "tokenizer.json").unlink()
    tiny_bpe(copy)  # 320 tokens
    rows = [{"tokens": text.split(), "ner_tags": ["O"] * len(text.split())} for text, _ in tiny_rows(24)]
    rows[0]["ner_tags"][0] = rows[1]["ner_tags"][0] = "B-X"
    dataset = {"source": write(tmp_path / "words.jsonl", rows)}
    said = refused(assign, session, model=str(copy), task="token-classification", dataset=dataset)
    assert "makes the id" in said
    assert "the model has 128 embeddings" in said


def test_token_types_of_pairs_beyond_the_models_are_refused(assign: Assign, session: Memory, tmp_path: Path) -> None:
    """RoBERTa with BERT's tokenizer: it works on single texts and fails on pairs."""
    folder = tmp_path / "roberta"
    hf.RobertaModel(hf.RobertaConfig(**TEXT | {"max_position_embeddings": 66, "type_vocab_size": 1})).save_pretrained(
        folder
    )
    tiny_tokenizer(folder)
    rows = [{"text": text, "other": text, "label": label} for text, label in tiny_rows(24)]
    spec = {"model": str(folder), "dataset": {"source": write(tmp_path / "pairs.jsonl", rows)}}
    inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache())
    spec["dataset"]["columns"] = {"text_pair": "other"}
    said = refused(assign, session, **spec)
    assert "makes the token type 1, and the model has 1 (type_vocab_size); first in row 1 of the train split" in said
    assert "leave token_type_ids out of model_input_names in its tokenizer_config.json" in said
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["model_input_names"] = ["input_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache())


def load(folder: Path) -> Any:
    return task_code("text-classification").load(folder, str(folder), ClassTargets(("a", "b")))


def test_a_padding_token_that_was_added_alone_is_refused(tmp_path: Path) -> None:
    folder = ARCHITECTURES["gpt2"].build(tmp_path / "gpt2")
    tokenizer = add_tokens(folder, 320, pad_token="[PAD]")
    with pytest.raises(BadData, match=r"pads with '\[PAD\]' \(id \d+\), and the model has 320 embeddings") as said:
        load(folder)
    assert "tokenizer.pad_token = tokenizer.eos_token" in said.value.message
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    assert load(folder).processor.pad_token == "<|endoftext|>"


def test_a_padding_id_beyond_the_vocabulary_in_the_configuration_is_named(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"pad_token_id": 500}))
    with pytest.raises(BadData, match=r"pad_token_id \(500\) lies beyond vocab_size \(128\); correct it there"):
        load(copy)


@pytest.mark.parametrize("name", ["ibert", "xlm", "opt", "bart", "mpnet", "gpt2"])
def test_no_text_asks_for_a_place_that_the_model_lacks(
    assign: Assign, session: Memory, tmp_path: Path, name: str
) -> None:
    """The tokenizer sets no limit, texts are of 150 tokens, and the model has 40 places."""
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 320}
    small |= {"intermediate_size": 16, "ffn_dim": 16, "word_embed_proj_dim": 16, "emb_dim": 16, "n_layers": 2}
    small |= {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    small |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "n_heads": 2, "n_head": 2, "n_layer": 2}
    small |= {"max_position_embeddings": 40, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "n_embd": 16}
    known = {**hf.AutoConfig.for_model(name).to_dict(), **hf.AutoConfig.for_model(name).attribute_map}
    config = hf.AutoConfig.for_model(name, **{key: value for key, value in small.items() if key in known})
    folder = tmp_path / name
    hf.AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tiny_bpe(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"model_max_length": 10**30}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    rows = [{"text": f"{text} {'the ' * 150}", "label": label} for text, label in tiny_rows(24)]
    spec = {"model": str(folder), "dataset": {"source": write(tmp_path / "long.jsonl", rows)}}
    cache = ModelCache()
    inspect(assign(AssignmentKind.INSPECT, spec=spec), session, cache)
    assert 32 <= cache.open(assign(spec=spec)).encoded("train", 128).longest <= 40


def test_a_sequence_to_sequence_model_needs_its_own_end_token(assign: Assign, session: Memory, tmp_path: Path) -> None:
    """BART summarises at the end tokens, of which another model's tokenizer may make none."""
    sizes = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    sizes |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": 128}
    folder = tmp_path / "bart"
    hf.BartModel(hf.BartConfig(**sizes, max_position_embeddings=64, eos_token_id=100)).save_pretrained(folder)
    tiny_tokenizer(folder)
    said = refused(assign, session, model=str(folder))
    assert "cannot take a text of" in said
    assert "Save the model's own tokenizer with it." in said


def test_what_the_models_own_code_raises_is_told_in_a_sentence(assign: Assign, session: Memory, tmp_path: Path) -> None:
    """T5 needs a token to start its decoder with, which its configuration may lack."""
    folder = tmp_path / "t5"
    hf.T5Model(hf.T5Config(vocab_size=128, d_model=16, d_ff=16, d_kv=8, num_layers=2, num_heads=2)).save_pretrained(
        folder
    )
    tiny_tokenizer(folder)
    said = refused(assign, session, model=str(folder))
    assert "cannot take a text of" in said
    assert "decoder_start_token_id" in said
    assert said.endswith("Complete its config.json where that lacks something, or choose another model.")


@pytest.mark.parametrize(("known", "told"), [(0, True), (10, True), (20, False)])
def test_a_tokenizer_that_knows_no_part_of_the_texts_is_told_of(
    assign: Assign, session: Memory, copy: Path, tmp_path: Path, known: int, told: bool
) -> None:
    rows = [
        {"text": text if i < known else chr(0x4E00 + i) + chr(0x6000 + i), "label": label}
        for i, (text, label) in enumerate(tiny_rows(24))
    ]
    files = {split: write(tmp_path / f"{split}.jsonl", rows) for split in ("train", "validation")}
    spec = {"model": str(copy), "dataset": {"source": files, "test": 0}}
    found = about(inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache()), "unknown-texts")
    assert [(finding.severity, finding.count) for finding in found] == [("warning", 24 - known)] * told
    assert all(f"{24 - known} of 24 training texts are nothing but '[UNK]'" in finding.message for finding in found)
    for row in rows[:12]:
        row["text"] += " film"
    some = {"source": write(tmp_path / "some.jsonl", rows)}
    inspect(assign(AssignmentKind.INSPECT, spec={"model": str(copy), "dataset": some}), session, ModelCache())


def tokenizer_files(folder: Path, settings: dict[str, Any], files: dict[str, bytes], **config: Any) -> Path:
    """Leave no tokenizer in a folder but these files."""
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    values = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(values))
    return folder


SENTENCEPIECE = b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 460000\n"
WORDS = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nfilm"
JAPANESE = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab"}
FAST = ", or save the tokenizer's fast version (tokenizer.json) with the model"
LIBRARIES: dict[str, tuple[dict[str, Any], dict[str, bytes], dict[str, Any], str]] = {
    "XLM-R": ({}, {"sentencepiece.bpe.model": SENTENCEPIECE}, {"model_type": "xlm-roberta"}, "sentencepiece protobuf"),
    "DeBERTa": (
        {"tokenizer_class": "DebertaV2Tokenizer"},
        {"spm.model": SENTENCEPIECE},
        {"model_type": "deberta-v2"},
        "sentencepiece protobuf",
    ),
    "CPM": ({"tokenizer_class": "CpmTokenizer"}, {"spiece.model": SENTENCEPIECE}, {}, "sentencepiece protobuf"),
    "tiktoken": ({}, {"tokenizer.model": b"IQ== 0\nIg== 1\n"}, {"model_type": "llama"}, "tiktoken"),
    "MeCab": (JAPANESE, {"vocab.txt": WORDS}, {}, "fugashi ipadic"),
    "MeCab with UniDic": (
        JAPANESE | {"mecab_kwargs": {"mecab_dic": "unidic_lite"}},
        {"vocab.txt": WORDS},
        {},
        "fugashi unidic-lite",
    ),
    "Sudachi": (JAPANESE | {"word_tokenizer_type": "sudachi"}, {"vocab.txt": WORDS}, {}, "sudachipy sudachidict-core"),
    "Juman++": (JAPANESE | {"word_tokenizer_type": "jumanpp"}, {"vocab.txt": WORDS}, {}, "rhoknp"),
    "RoFormer": ({}, {"vocab.txt": WORDS}, {"model_type": "roformer"}, "rjieba"),
    "XLM": ({"tokenizer_class": "XLMTokenizer"}, {"vocab.json": b"{}", "merges.txt": b""}, {}, "sacremoses"),
}


@pytest.mark.parametrize("kind", LIBRARIES)
def test_the_library_that_a_tokenizer_needs_is_named_as_pip_names_it(copy: Path, kind: str) -> None:
    settings, files, config, packages = LIBRARIES[kind]
    present = {library for library in libraries.PACKAGES if libraries._is_there(library)}
    if {*packages.split()} & {libraries.PACKAGES[library] for library in present}:
        pytest.skip(f"one of {packages} is installed here")
    fast = FAST if packages in ("tiktoken", "sentencepiece protobuf") else ""
    with pytest.raises(BadData) as refused:
        load(tokenizer_files(copy, settings, files, **config))
    said = f"{copy}: its tokenizer needs what this worker lacks: run pip install {packages} there{fast}."
    assert refused.value.message == said


@pytest.mark.parametrize(
    ("settings", "files", "said"),
    [
        ({}, {"tokenizer.json": b"{"}, "its tokenizer cannot be loaded: "),
        ({}, {"tokenizer.json": POINTER}, "tokenizer.json is a pointer of Git LFS; run git lfs pull in the folder."),
        ({}, {"tokenizer.json": b"{}"}, "its tokenizer cannot be loaded: "),
        ({"tokenizer_class": "Qwen2Tokenizer"}, {"qwen.model": b""}, "knows no words, as the file of its vocabulary"),
        ({"tokenizer_class": "BertTokenizer"}, {"words.model": b""}, "knows no words, as the file of its vocabulary"),
        ({"tokenizer_class": "RobertaTokenizer"}, {"vocab.json": b"{}"}, "its tokenizer "),
    ],
)
def test_a_tokenizer_without_a_whole_vocabulary_is_refused(
    copy: Path, settings: dict[str, Any], files: dict[str, bytes], said: str
) -> None:
    with pytest.raises(BadData, match=said) as refused:
        load(tokenizer_files(copy, settings, files))
    assert refused.value.path == ["model"]


@pytest.mark.full  # its tokenizer lists a million letters
def test_a_tokenizer_of_letters_needs_no_vocabulary(assign: Assign, session: Memory, tmp_path: Path) -> None:
    config = hf.CanineConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, max_position_embeddings=128,
        num_hash_buckets=128, num_hash_functions=2, local_transformer_stride=32, downsampling_rate=4,
    )  # fmt: skip
    hf.CanineModel(config).save_pretrained(tmp_path / "canine")
    hf.CanineTokenizer().save_pretrained(tmp_path / "canine")
    spec = {"model": str(tmp_path / "canine")}
    found = inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache())
    assert found.estimates is not None


def test_special_tokens_in_texts_are_told(assign: Assign, tmp_path: Path) -> None:
    model = tiny_writing.ARCHITECTURES["bart-writes"].build(tmp_path / "model")
    rows = [{"source": f"a film {i}", "target": f"the {i}" + "</s>" * (i < 10)} for i in range(24)]
    data = tiny_writing.write(tmp_path / "data.jsonl", rows)
    spec = {"task": "text2text-generation", "model": str(model), "dataset": {"source": str(data)}}
    study = ModelCache().open(assign(AssignmentKind.INSPECT, spec=spec))
    (found,) = check_lookups(study, 32, Generation())
    assert (found.code, found.examples) == ("special-tokens-in-texts", ["</s>"])
    assert found.count == sum("</s>" in text for text in study.data.splits["train"].targets) > 0
