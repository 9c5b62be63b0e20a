"""Blocks are found, counted and frozen in any architecture, from the model's own structure."""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

from luthier.studies.hyperparameters import complete
from luthier.studies.semantics import OLDEST_SEMANTICS
from luthier.trials.errors import BadData
from luthier.trials.model import lora
from luthier.trials.model.backbone import Backbone
from luthier.trials.model.pretrained import Pretrained
from tests.support.zoo import ZOO

SIZES: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
TEXT: dict[str, Any] = SIZES | {"vocab_size": 50, "num_hidden_layers": 3}
IMAGE: dict[str, Any] = SIZES | {"num_hidden_layers": 3, "image_size": 32, "patch_size": 8}
TWO_SIDED: dict[str, Any] = {
    "d_model": 16, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
}  # fmt: skip
SPEECH: dict[str, Any] = {
    "conv_dim": [8, 8], "conv_stride": [5, 2], "conv_kernel": [10, 3], "num_feat_extract_layers": 2,
}  # fmt: skip
ROPE: dict[str, Any] = {"pad_token_id": 0}

text = hf.AutoModelForSequenceClassification.from_config
image = hf.AutoModelForImageClassification.from_config
audio = hf.AutoModelForAudioClassification.from_config

ARCHITECTURES: dict[str, tuple[Callable[[Any], nn.Module], Callable[[], Any], int]] = {
    "bert": (text, lambda: hf.BertConfig(**TEXT), 3),
    "roberta": (text, lambda: hf.RobertaConfig(**TEXT), 3),
    "distilbert": (text, lambda: hf.DistilBertConfig(dim=16, n_heads=2, n_layers=3, hidden_dim=32, vocab_size=50), 3),
    "gpt2": (text, lambda: hf.GPT2Config(n_embd=16, n_head=2, n_layer=3, vocab_size=50), 3),
    "electra": (text, lambda: hf.ElectraConfig(**TEXT, embedding_size=16), 3),
    "deberta": (text, lambda: hf.DebertaV2Config(**TEXT), 3),
    "albert": (text, lambda: hf.AlbertConfig(**TEXT, embedding_size=8), 1),  # one block, shared by its layers
    "mpnet": (text, lambda: hf.MPNetConfig(**TEXT), 3),
    "xlnet": (text, lambda: hf.XLNetConfig(d_model=16, n_head=2, n_layer=3, d_inner=32, vocab_size=50), 3),
    "llama": (text, lambda: hf.LlamaConfig(**TEXT, **ROPE, num_key_value_heads=2), 3),
    "modernbert": (text, lambda: hf.ModernBertConfig(**TEXT, **ROPE), 3),
    "opt": (text, lambda: hf.OPTConfig(hidden_size=16, ffn_dim=32, num_hidden_layers=3, num_attention_heads=2,
                                       vocab_size=50, word_embed_proj_dim=16), 3),
    "bart": (text, lambda: hf.BartConfig(**TWO_SIDED, vocab_size=50), 5),
    "t5": (text, lambda: hf.T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, vocab_size=50,
                                     decoder_start_token_id=0), 4),
    "funnel": (text, lambda: hf.FunnelConfig(d_model=16, n_head=2, d_head=8, d_inner=32, block_sizes=[2, 2],
                                             num_decoder_layers=1, vocab_size=50), 4),
    "vit": (image, lambda: hf.ViTConfig(**IMAGE), 3),
    "beit": (image, lambda: hf.BeitConfig(**IMAGE), 3),
    "swin": (image, lambda: hf.SwinConfig(embed_dim=8, depths=[2, 2], num_heads=[2, 2], image_size=32,
                                          window_size=4), 4),
    "resnet": (image, lambda: hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[2, 3],
                                              layer_type="basic"), 5),
    "convnext": (image, lambda: hf.ConvNextConfig(hidden_sizes=[8, 16], depths=[2, 3], num_stages=2), 5),
    "wav2vec2": (audio, lambda: hf.Wav2Vec2Config(**SIZES, **SPEECH, num_hidden_layers=3), 3),
    "whisper": (audio, lambda: hf.WhisperConfig(**TWO_SIDED), 3),  # the classifier has the encoder only
}  # fmt: skip


def make(name: str) -> nn.Module:
    build, config, _ = ARCHITECTURES[name]
    torch.manual_seed(0)
    return build(config())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_blocks_are_found_and_depths_count_down_to_the_head(name: str) -> None:
    model = make(name)
    backbone = Backbone.find(model)
    assert backbone.depth == ARCHITECTURES[name][2]
    trainable = backbone.trainable_parameters()
    assert len(trainable) == backbone.depth + 1 == len(backbone.table()) + 1
    assert trainable[0] == sum(p.numel() for p in model.parameters())
    assert all(more > less for more, less in pairwise(trainable))
    inside = {id(p) for name, p in backbone.base.named_parameters() if "pooler" not in name.split(".")}
    assert trainable[-1] == sum(p.numel() for p in model.parameters() if id(p) not in inside) > 0
    layers = [backbone.layers[f"{block}.{own}"] for block, module in zip(backbone.names, backbone.blocks, strict=True)
              for own, _ in list(module.named_parameters())[:1]]  # fmt: skip
    assert layers == list(range(1, backbone.depth + 1))


def inputs(name: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    if ARCHITECTURES[name][0] is text:
        return {"input_ids": torch.randint(3, 49, (4, 6), generator=generator)}
    return {"pixel_values": torch.randn(4, 3, 32, 32, generator=generator)}


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "gpt2", "t5", "bart", "deberta", "vit", "resnet"])
def test_what_is_frozen_is_a_fixed_function_of_the_input(name: str) -> None:
    model = make(name)
    backbone = Backbone.find(model)
    depth = 2
    backbone.freeze(depth)
    backbone.train_mode()
    below: list[torch.Tensor] = []

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        below.append((output if isinstance(output, torch.Tensor) else output[0]).detach().clone())

    backbone.blocks[depth - 1].register_forward_hook(keep)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    padding = {"attention_mask": torch.ones(4, 6, dtype=torch.long)} if ARCHITECTURES[name][0] is text else {}
    if name == "gpt2":
        model.config.pad_token_id = 0
    if name in ("bart", "t5"):  # their heads look at the last end-of-text token
        batch = inputs(name)
        batch["input_ids"][:, -1] = model.config.eos_token_id
    else:
        batch = inputs(name)
    for _ in range(3):
        backbone.train_mode()
        nn.functional.cross_entropy(model(**batch, **padding).logits, torch.tensor([0, 1, 0, 1])).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(below[0], below[1])
    assert torch.equal(below[1], below[2])
    frozen, after = backbone.frozen(depth), model.state_dict()
    for key in frozen:
        assert torch.equal(after[key], before[key]), key
    assert any(not torch.equal(after[key], before[key]) for key, _ in model.named_parameters())
    if name == "resnet":
        moved = [key for key in before if "running_mean" in key and not torch.equal(after[key], before[key])]
        assert moved
        assert all(key.startswith(tuple(backbone.names[depth:])) for key in moved)


def test_at_depth_0_everything_trains_with_dropout_on() -> None:
    backbone = Backbone.find(make("bert"))
    backbone.freeze(2)
    backbone.freeze(0)
    backbone.train_mode()
    assert all(module.training for module in backbone.model.modules())
    assert all(p.requires_grad for p in backbone.model.parameters())


def test_what_the_checkpoint_did_not_hold_is_never_frozen() -> None:
    fresh = frozenset({"bert.pooler.dense.weight", "bert.pooler.dense.bias"})
    backbone = Backbone.find(make("bert"), fresh)
    assert not fresh & backbone.frozen(3)
    assert backbone.trainable_parameters()[3] == 16 * 16 + 16 + 2 * 16 + 2


def test_a_depth_beyond_the_model_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 3"):
        Backbone.find(make("bert")).freeze(4)


def test_a_model_without_blocks_is_refused() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))

        @property
        def base_model(self) -> nn.Module:
            return self

    with pytest.raises(BadData, match="cannot be told apart"):
        Backbone.find(Bare())


@pytest.mark.parametrize("name", ["T5", "umT5", "LongT5", "BART", "Marian", "Pegasus"])
def test_the_blocks_of_an_encoder_come_before_those_of_its_decoder(name: str) -> None:
    backbone = Backbone.find(ZOO["text2text-generation"][name].build())
    sides = [re.findall("encoder|decoder", block)[-1] for block in backbone.names]
    assert sides == ["encoder"] * 3 + ["decoder"] * 3
    trained = {name: layer for name, layer in backbone.layers.items() if name not in backbone.frozen(4)}
    assert not any("encoder." in name and "encoder_attn" not in name for name in trained), "the encoder is frozen whole"
    assert min(trained.values()) == 5


@pytest.mark.parametrize(
    ("task", "name", "deepest"),
    [("text-generation", "GPT-2", 2), ("text-generation", "Llama", 3), ("text2text-generation", "T5", 5),
     ("text2text-generation", "BART", 5), ("automatic-speech-recognition", "Whisper", 5),
     ("question-answering", "T5", 6)],
)  # fmt: skip
def test_where_the_token_table_is_the_head_the_topmost_block_always_trains(task: str, name: str, deepest: int) -> None:
    model = ZOO[task][name].build()
    backbone = Backbone.find(model)
    assert backbone.depth == len(backbone.table()) == len(backbone.trainable_parameters()) - 1 == deepest
    assert backbone.trainable_parameters()[-1] > 0
    backbone.freeze(deepest)
    top = len(backbone.blocks) == deepest
    assert all(p.requires_grad != top for p in backbone.blocks[-1].parameters())
    head = model.get_output_embeddings()
    assert head is None or head.weight.requires_grad == top, "a frozen table is a frozen head"
    with pytest.raises(ValueError, match=f"from 0 to {deepest}"):
        backbone.freeze(deepest + 1)


def test_adapters_go_into_the_topmost_block_where_the_token_table_is_the_head() -> None:
    model = ZOO["text-generation"]["GPT-2"].build()
    backbone = Backbone.find(model)
    pretrained = Pretrained(model, None, frozenset(), {}, [])
    lora.adapt(pretrained, backbone, complete({"freeze_depth": backbone.depth, "strategy": "lora"}), 0)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all(name.startswith("transformer.h.2.") and "lora" in name for name in trained)


@pytest.mark.parametrize(
    ("task", "name", "position"),
    [("question-answering", "DeBERTa-v3", "deberta.encoder.LayerNorm.weight"),
     ("object-detection", "YOLOS", "vit.encoder.interpolation.mid_position_embeddings")],
)  # fmt: skip
def test_positions_defined_behind_the_blocks_are_frozen_with_them(task: str, name: str, position: str) -> None:
    model = ZOO[task][name].build()
    assert position in Backbone.find(model).frozen(1)
    assert position not in Backbone.find(model, semantics=OLDEST_SEMANTICS).frozen(1), "studies that exist keep theirs"


def test_a_model_put_together_of_a_backbone_and_a_larger_head_is_cut_between_them() -> None:
    backbone = Backbone.find(ZOO["image-segmentation"]["UperNet, ConvNeXt"].build())
    assert all(name.startswith("backbone.") for name in backbone.names)


class Sequences(nn.Module):
    """Built as timm builds: sequences instead of lists, and the classifier inside of the backbone."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.classifier = nn.Linear(4, 2)

    def get_classifier(self) -> nn.Module:
        return self.classifier


def _conv(count: int) -> nn.Sequential:
    return nn.Sequential(*(module for _ in range(count) for module in (nn.Conv2d(4, 4, 3), nn.ReLU())))


def _norm_conv() -> list[nn.Module]:
    return [nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()]


@pytest.mark.parametrize(
    ("parts", "names"),
    [
        (  # ResNet: a stem, then stages
            {"stem": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), "layer1": _conv(2), "layer2": _conv(1)},
            ["layer1.0", "layer1.2", "layer2.0"],
        ),
        ({"embed": nn.Conv2d(3, 4, 2), "blocks": _conv(3)}, ["blocks.0", "blocks.2", "blocks.4"]),  # ViT
        ({"blocks": nn.Sequential(_conv(2), _conv(1))}, ["blocks.0.0", "blocks.0.2", "blocks.1.0"]),  # EfficientNet
        ({"features": _conv(2), "dense": nn.Conv2d(4, 100, 7)}, ["features.0", "features.2", "dense"]),  # VGG
        (  # VGG with norms
            {"features": nn.Sequential(*_norm_conv(), *_norm_conv()), "dense": nn.Conv2d(4, 100, 7)},
            ["features.0", "features.3", "dense"],
        ),
        (  # DenseNet: a stem, then stages and transitions of two kinds
            {"features": nn.Sequential(*_norm_conv(), nn.ModuleList(_norm_conv()), nn.Linear(4, 4), nn.BatchNorm2d(4))},
            ["features.0", "features.3", "features.4"],
        ),
    ],
)
def test_sequences_are_blocks_and_a_classifier_inside_the_backbone_is_no_part_of_it(
    parts: dict[str, nn.Module], names: list[str]
) -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.timm_model = Sequences(**parts)

        @property
        def base_model(self) -> nn.Module:
            return self.timm_model

    backbone = Backbone.find(Wrapper())
    assert backbone.names == [f"timm_model.{name}" for name in names]
    assert backbone.trainable_parameters()[-1] == 2 * 4 + 2, "the classifier trains at any depth"
    assert all(more > less for more, less in pairwise(backbone.trainable_parameters()))
