"""Models, recordings and transcripts that do not suit each other: kept, made to suit, or refused with the cure."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import transformers as hf

from luthier.studies.protocol import Assignment
from luthier.studies.strategy import Generation
from luthier.trials.errors import BadData
from luthier.trials.tasks import ctc, whisper
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.open_study import OpenStudy
from tests.support.architecture import SPEECH
from tests.support.tiny_speech import LETTERS, RATE, SPEECH_ARCHITECTURES, spoken, tiny_speech

TASK = "automatic-speech-recognition"
Assign = Callable[..., Assignment]


def opened(assign: Assign, model: Path, table: Path) -> OpenStudy:
    """Open a study of a model and a table, and encode its splits."""
    spec = {"task": TASK, "model": str(model), "dataset": {"source": str(table), "validation": 0.2}}
    study = ModelCache().open(assign(spec=spec))
    for split in study.data.splits:
        study.encoded(split, 0)
    return study


def rewritten(table: Path, change: Callable[[int, str], str]) -> Path:
    """Change the transcripts of a table."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with table.open("w", newline="", encoding="utf-8") as file:
        lines = [("audio", "text"), *((row["audio"], change(i, row["text"])) for i, row in enumerate(rows))]
        csv.writer(file).writerows(lines)
    return table


def finetuned(folder: Path, letters: str, **tokenizer: Any) -> Path:
    """Save a model that was trained with CTC for some letters, as wav2vec2-base-960h is, and its tokenizer."""
    names = ["<pad>", "<s>", "</s>", "<unk>", "|", *letters]
    folder.mkdir(parents=True)
    (folder / "words.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    hf.Wav2Vec2CTCTokenizer(str(folder / "words.json"), **tokenizer).save_pretrained(folder)  # type: ignore[no-untyped-call]
    torch.manual_seed(1)
    hf.Wav2Vec2ForCTC(hf.Wav2Vec2Config(**SPEECH, vocab_size=len(names), pad_token_id=0)).save_pretrained(folder)
    hf.Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("letters", "tokenizer", "change", "is_kept"),
    [
        (LETTERS, {}, str.lower, True),
        (LETTERS.upper() + "'XYZ", {}, str.lower, True),
        (LETTERS, {}, str.upper, True),
        (LETTERS.upper(), {"do_lower_case": True}, str.lower, True),
        (LETTERS.upper(), {}, str.title, False),
        (LETTERS[1:], {}, str.lower, False),
    ],
)
def test_a_head_is_kept_where_its_letters_suffice(
    assign: Assign,
    tmp_path: Path,
    letters: str,
    tokenizer: dict[str, Any],
    change: Callable[[str], str],
    is_kept: bool,
) -> None:
    table = rewritten(tiny_speech(tmp_path / "data"), lambda i, text: change(text))
    folder = finetuned(tmp_path / "model", letters, **tokenizer)
    study = opened(assign, folder, table)
    head = study.pretrained.model.lm_head.weight
    saved = hf.Wav2Vec2ForCTC.from_pretrained(folder).lm_head.weight
    assert (study.pretrained.fresh == frozenset()) == is_kept
    assert (head.shape == saved.shape and torch.equal(head, saved)) == is_kept
    text = study.data.splits["train"].targets[0]
    ids = study.encoded("train", 0).targets["letters"][0]
    assert ctc.written_text(study.pretrained.processor.tokenizer, torch.tensor(ids)) == text
    if is_kept:
        place = letters.lower().index(text[0].lower())
        assert ids[0] == 5 + place, "the head's own output for this letter"
    else:
        names = ["[PAD]", "[UNK]", "|", *study.data.targets.about["letters"]]
        assert study.pretrained.processor.tokenizer.get_vocab() == {name: i for i, name in enumerate(names)}
        assert study.pretrained.model.config.pad_token_id == 0


def test_a_transcript_that_its_sound_has_no_room_for_is_refused(assign: Assign, tmp_path: Path) -> None:
    table = rewritten(tiny_speech(tmp_path / "data"), lambda i, text: "bad " * 60 if i in (3, 4) else text)
    model = SPEECH_ARCHITECTURES["hubert-ctc"].build(tmp_path / "model")
    with pytest.raises(BadData) as refused:
        opened(assign, model, table)
    text = refused.value.message
    assert "transcripts are longer than their sounds allow" in text
    assert "3.wav (239 letters need 239 frames, and its sound has" in text
    assert "Correct their transcripts, or remove their rows" in text


def test_equal_letters_need_a_frame_between_them() -> None:
    ctc.check_room([[3, 3, 4]], [4], ["x"])
    with pytest.raises(BadData, match="3 letters need 4 frames, and its sound has 3"):
        ctc.check_room([[3, 3, 4]], [3], ["x"])
    outputs = {"logits": torch.zeros(1, 4, 5)}
    for frames, finite in ((4, True), (3, False)):
        targets = ctc.collate([[3, 3, 4]], torch.tensor([frames]), 4, 0)
        assert bool(ctc.losses(outputs, targets).isfinite().all()) == finite, (
            "check_room refuses exactly what is infinite"
        )


def test_a_letter_that_training_lacks_is_unknown(assign: Assign, tmp_path: Path) -> None:
    train, test = tiny_speech(tmp_path / "train"), tiny_speech(tmp_path / "test")
    rewritten(test, lambda i, text: f"{text[0]}q{text[2:]}" if i == 0 else text)
    model = SPEECH_ARCHITECTURES["hubert-ctc"].build(tmp_path / "model")
    source = {"train": str(train), "test": str(test)}
    spec = {"task": TASK, "model": str(model), "dataset": {"source": source, "validation": 0.2}}
    study = ModelCache().open(assign(spec=spec))
    assert "q" not in study.data.targets.about["letters"]
    assert study.encoded("test", 0).targets["letters"][0][1] == 1, "[UNK]"


@pytest.mark.parametrize(
    ("seconds", "text", "said"),
    [
        (2.5, "bad", r"1 of \d+ sounds are longer than the 2 s that the model hears: .*\.wav \(2\.5 s\)\. Divide them"),
        (1.0, "bad " * 20, r"1 of \d+ transcripts have more than the 31 tokens that the model writes .*\(81\)"),
    ],
)
def test_what_does_not_fit_a_whisper_is_refused(
    assign: Assign, tmp_path: Path, seconds: float, text: str, said: str
) -> None:
    table = tiny_speech(tmp_path / "data", 12)
    rewritten(table, lambda i, own: text if i == 2 else own)
    soundfile.write(tmp_path / "data" / "2.wav", spoken("bad")[:100].repeat(int(RATE * seconds / 100)), RATE)
    model = SPEECH_ARCHITECTURES["whisper-speech"].build(tmp_path / "model")
    with pytest.raises(BadData, match=said):
        opened(assign, model, table)


def multilingual(folder: Path, language: str | None) -> Path:
    """Save a Whisper that knows two languages."""
    SPEECH_ARCHITECTURES["whisper-speech"].build(folder)
    settings = hf.GenerationConfig.from_pretrained(folder)
    settings.lang_to_id, settings.task_to_id = {"<|en|>": 10, "<|de|>": 11}, {"transcribe": 258, "translate": 259}
    settings.is_multilingual, settings.language = True, language
    settings.save_pretrained(folder)
    return folder


@pytest.mark.full
def test_a_whisper_of_many_languages_must_be_told_which(assign: Assign, tmp_path: Path) -> None:
    table = tiny_speech(tmp_path / "data")
    with pytest.raises(BadData, match=r"writes 2 languages, and its files do not say which one. .*language: german"):
        opened(assign, multilingual(tmp_path / "unknown", None), table)
    for number, language in enumerate(("german", "de", "<|de|>", "German")):
        study = opened(assign, multilingual(tmp_path / str(number), language), table)
        assert whisper.prefix(study.pretrained.model) == [257, 11, 258, 260]


def test_a_spec_names_the_language_of_a_whisper_of_many(assign: Assign, tmp_path: Path) -> None:
    table = tiny_speech(tmp_path / "data")
    many = multilingual(tmp_path / "many", "english")
    one = SPEECH_ARCHITECTURES["whisper-speech"].build(tmp_path / "one")
    ctc = SPEECH_ARCHITECTURES["wav2vec2-ctc"].build(tmp_path / "ctc")

    def start(model: Path, language: str) -> list[int]:
        source = {"source": str(table), "language": language}
        spec = {"task": "automatic-speech-recognition", "model": str(model), "dataset": source}
        return whisper.prefix(ModelCache().open(assign(spec=spec)).pretrained.model)

    for language in ("German", "de"):
        assert start(many, language) == [257, 11, 258, 260]
    for model, said in (
        (many, "knows no language 'klingon'; its languages are de, en"),
        (one, "Leave"),
        (ctc, "Leave"),
    ):
        with pytest.raises(BadData, match=said) as error:
            start(model, "klingon")
        assert error.value.path == ["dataset", "language"]


def test_the_decoder_starts_as_generate_starts_it(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, build in (
        ("english", SPEECH_ARCHITECTURES["whisper-speech"].build),
        ("many", lambda folder: multilingual(folder, "de")),
    ):
        study = opened(assign, build(tmp_path / name), tiny_speech(tmp_path / "data", 8))
        model: Any = study.pretrained.model.eval()  # type: ignore[no-untyped-call]
        starts = []
        forward = model.model.decoder.forward

        def watched(*given: Any, _forward: Any = forward, _starts: list[Any] = starts, **named: Any) -> Any:
            _starts.append(named["input_ids"].tolist())
            return _forward(*given, **named)

        monkeypatch.setattr(model.model.decoder, "forward", watched)
        encoded = study.encoded("train", 0)
        study.task.generate(model, encoded, [0], Generation(max_new_tokens=2))
        assert starts[0] == [whisper.prefix(model)]
        inputs = study.task.collate(encoded, [0])["decoder_input_ids"]
        assert inputs[0, : len(starts[0][0])].tolist() == starts[0][0]


def test_another_model_with_a_decoder_is_refused(assign: Assign, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": 261}
    hf.Speech2TextForConditionalGeneration(hf.Speech2TextConfig(**sizes, **heads)).save_pretrained(folder)
    SPEECH_ARCHITECTURES["whisper-speech"].processor(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_extractor_type": "Wav2Vec2FeatureExtractor"}))
    with pytest.raises(BadData, match="does not hear a window of whole seconds, as Whisper does"):
        opened(assign, folder, tiny_speech(tmp_path / "data"))
