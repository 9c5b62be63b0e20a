"""The names and habits of transformers that it does not promise to keep, one test each: an upgrade fails here first."""

import inspect
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from luthier.trials.model.blocks import base_of
from luthier.trials.model.fresh import draw_fresh
from luthier.trials.prefix.attention import NAME, SDPA, attention, uses_sdpa


@pytest.fixture(scope="module")
def model() -> transformers.PreTrainedModel:
    config = transformers.BertConfig(
        vocab_size=16, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.AutoModelForSequenceClassification.from_config(config).eval()


def test_init_weights_draws_a_module_again(model: transformers.PreTrainedModel) -> None:
    layer = model.classifier
    before = layer.weight.detach().clone()
    layer.weight._is_hf_initialized = False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model._init_weights(layer)
    assert not torch.equal(layer.weight, before), (
        "PreTrainedModel._init_weights draws nothing: trials/model/fresh.py draws each trial's head by it"
    )


def test_is_hf_initialized_protects_a_parameter(model: transformers.PreTrainedModel) -> None:
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with torch.no_grad():
        model.classifier.bias.fill_(3.0)
        with torch.random.fork_rng(devices=[]):
            draw_fresh(model, {"classifier.weight"})
    after = dict(model.named_parameters())
    sentence = "`_is_hf_initialized` no longer protects a parameter: trials/model/fresh.py draws a head alone by it"
    assert not torch.equal(after["classifier.weight"], before["classifier.weight"]), sentence
    assert after["classifier.bias"].tolist() == [3.0, 3.0], sentence
    for name in before.keys() - {"classifier.weight", "classifier.bias"}:
        assert torch.equal(after[name], before[name]), f"{sentence} ({name})"


def test_the_config_says_which_attention_a_model_has(model: transformers.PreTrainedModel) -> None:
    sentence = "`config._attn_implementation` tells otherwise: trials/prefix/attention.py reads it"
    model.set_attn_implementation(SDPA)
    assert model.config._attn_implementation == "sdpa", sentence
    assert uses_sdpa(model), sentence
    model.set_attn_implementation(NAME)
    assert model.config._attn_implementation == NAME, sentence
    assert uses_sdpa(model), sentence
    model.set_attn_implementation("eager")
    assert not uses_sdpa(model), sentence
    model.set_attn_implementation(SDPA)


def test_a_class_says_which_of_its_modules_stay_precise() -> None:
    sentence = "`_keep_in_fp32_modules` tells otherwise: trials/model/four_bits.py leaves those modules as they are"
    assert "wo" in transformers.T5ForSequenceClassification._keep_in_fp32_modules, sentence
    assert not transformers.BertModel._keep_in_fp32_modules, sentence


def test_registered_attention_computes_what_transformers_own_does(model: transformers.PreTrainedModel) -> None:
    inputs = {"input_ids": torch.tensor([[1, 2, 3], [4, 5, 0]]), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
    with torch.no_grad():
        expected = model(**inputs).logits
        model.set_attn_implementation(NAME)
        logits = model(**inputs).logits
        model.set_attn_implementation(SDPA)
    sentence = "AttentionInterface or AttentionMaskInterface work otherwise: trials/prefix/attention.py registers there"
    assert transformers.AttentionInterface()[NAME] is attention, sentence
    assert torch.equal(logits, expected), sentence


def test_sdpa_takes_the_arguments_that_are_passed_on() -> None:
    parameters = inspect.signature(transformers.AttentionInterface()[SDPA]).parameters
    assert {"dropout", "scaling", "is_causal"} <= set(parameters), (
        "transformers' scaled-dot-product attention takes other options: trials/prefix/attention.py reads these three"
    )
    query = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0))  # (batch, heads, tokens, head size)
    module = nn.Module()
    output, weights = transformers.AttentionInterface()[SDPA](module, query, query, query, None, is_causal=False)
    assert output.shape == (2, 3, 2, 4), "its output is no longer (batch, tokens, heads, head size)"
    assert weights is None


def test_the_mask_of_sdpa_is_true_where_a_token_is_seen() -> None:
    mask = transformers.AttentionMaskInterface()[SDPA](
        batch_size=1,
        q_length=2,
        kv_length=2,
        attention_mask=torch.tensor([[True, False]]),
        mask_function=lambda batch, head, query, key: torch.ones((), dtype=torch.bool),
        allow_is_causal_skip=False,
    )
    assert mask.dtype == torch.bool, "masks are no longer boolean: trials/prefix/attention.py needs them so"
    assert mask.shape[-2:] == (2, 2)
    assert mask[0, 0].tolist() == [[True, False], [True, False]]


def test_blocks_are_gradient_checkpointing_layers(model: transformers.PreTrainedModel) -> None:
    layers = [m for m in model.modules() if isinstance(m, transformers.GradientCheckpointingLayer)]
    assert len(layers) == 2, (
        "GradientCheckpointingLayer is no longer the class of a model's blocks: trials/model/blocks.py finds them by it"
    )
    assert base_of(model) is model.bert


def test_conv1d_holds_its_weight_transposed() -> None:
    assert transformers.Conv1D(3, 5).weight.shape == (5, 3), (
        "transformers.Conv1D holds its weight otherwise: trials/model/lora.py adapts it with fan_in_fan_out"
    )


def test_model_mapping_knows_the_configurations_of_an_auto_class() -> None:
    mapping = transformers.AutoModelForSequenceClassification._model_mapping
    known = transformers.BertConfig in mapping, transformers.Wav2Vec2Config in mapping
    assert known == (True, False), (
        "_model_mapping tells no more what an auto class loads: trials/model/auto_classes.py refuses models by it"
    )


def test_speech_models_say_how_many_frames_a_sound_becomes() -> None:
    """By a private method: `trials/tasks/ctc.py` asks it, so that a transcript that does not fit is refused."""
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=[8] * 7, vocab_size=8
    )
    model: Any = transformers.Wav2Vec2ForCTC(config).eval()  # type: ignore[no-untyped-call]
    for samples in (400, 719, 720, 16_000):
        with torch.no_grad():
            frames = model(torch.zeros(1, samples)).logits.shape[1]
        assert int(model._get_feat_extract_output_lengths(torch.tensor(samples))) == frames
