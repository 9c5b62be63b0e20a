"""Images with bright rectangles of two colours, and tiny models that find them.

ARCHITECTURES, DATA     merged into those of `tests.support.architectures`
picture(number)         an image and its objects
write_boxes(folder)     images, and a table of their objects
write_coco(folder)      the same as COCO's json
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import transformers as hf
from PIL import Image

from tests.support.architecture import HIDDEN, Architecture
from tests.support.tiny import LABELS

SIZE = {"height": 32, "width": 32}
DETR: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "num_queries": 5,
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
}


def _resnet(stages: int = 2) -> Any:
    sizes = [8, 16, 32, 32][:stages]
    outputs = [f"stage{stages}"] if stages == 2 else [f"stage{i + 1}" for i in range(1, stages)]
    return hf.ResNetConfig(
        embedding_size=8, hidden_sizes=sizes, depths=[1] * stages, layer_type="basic", out_features=outputs
    )


_RT_DETR: dict[str, Any] = {
    "use_timm_backbone": False,
    "encoder_hidden_dim": 32,
    "encoder_in_channels": [8, 16, 16],
    "d_model": 32,
    "num_queries": 5,
    "decoder_in_channels": [32, 32, 32],
    "decoder_ffn_dim": 64,
    "encoder_ffn_dim": 64,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "encoder_attention_heads": 2,
    "decoder_n_points": 2,
    "num_denoising": 0,
    "hidden_expansion": 0.5,
}


def _stages() -> Any:
    return hf.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )


def _detector(config: Callable[[], Any], blocks: int, processor: Any) -> Architecture:
    return Architecture("object-detection", blocks, config, processor.save_pretrained)


ARCHITECTURES: dict[str, Architecture] = {
    "yolos": _detector(
        lambda: hf.YolosConfig(
            **HIDDEN, num_hidden_layers=3, image_size=[32, 32], patch_size=8, num_detection_tokens=6
        ),
        3,
        hf.YolosImageProcessor(size=SIZE),
    ),
    "detr": _detector(
        lambda: hf.DetrConfig(**DETR, backbone_config=_resnet()),
        4,
        hf.DetrImageProcessor(size={"shortest_edge": 32, "longest_edge": 48}),
    ),
    "deformable-detr": _detector(
        lambda: hf.DeformableDetrConfig(
            **DETR | {"d_model": 64},
            backbone_config=_resnet(3),
            num_feature_levels=2,
            encoder_n_points=2,
            decoder_n_points=2,
        ),
        4,
        hf.DeformableDetrImageProcessor(size=SIZE),
    ),
    "rt-detr": _detector(
        lambda: hf.RTDetrConfig(**_RT_DETR, backbone_config=_stages()),
        7,
        hf.RTDetrImageProcessor(size=SIZE),
    ),
}


def picture(number: int, size: tuple[int, int] = (48, 40)) -> tuple[numpy.ndarray, list[tuple[str, list[int]]]]:
    """Return a noisy image, (height, width, 3), and its objects: label and [x, y, width, height]; each 7th has none."""
    draw = numpy.random.default_rng(number)
    height, width = size
    pixels = draw.integers(0, 128, (height, width, 3), dtype=numpy.uint8)
    objects = []
    for half in range(number % 2 + 1 if number % 7 != 6 else 0):
        kind = (number + half) % 2
        w, h = int(draw.integers(8, width // 2)), int(draw.integers(8, height // 2))
        x, y = int(draw.integers(0, width // 2 - w + 1)) + half * width // 2, int(draw.integers(0, height - h + 1))
        pixels[y : y + h, x : x + w, 2 * kind] = 255
        objects.append((LABELS[kind], [x, y, w, h]))
    return pixels, objects


def write_boxes(folder: Path, rows: int = 24) -> Path:
    """Write images and return the table of their objects."""
    lines = []
    for i in range(rows):
        image, objects = picture(i)
        Image.fromarray(image).save(folder / f"{i}.png")
        found = {"bbox": [box for _, box in objects], "category": [label for label, _ in objects]}
        lines.append(json.dumps({"image": f"{i}.png", "objects": found}))
    (folder / "data.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder / "data.jsonl"


def coco(folder: Path, rows: int = 24, images: str = "") -> dict[str, Any]:
    """Write images into a folder below, and return what COCO's json says of them."""
    (folder / images).mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"images": [], "annotations": []}
    for i in range(rows):
        image, objects = picture(i)
        Image.fromarray(image).save(folder / images / f"{i}.png")
        found["images"].append({"id": 10 + i, "file_name": f"{i}.png", "width": image.shape[1], "height": len(image)})
        for label, box in objects:
            number = len(found["annotations"]) + 1
            about = {"id": number, "image_id": 10 + i, "category_id": 3 + LABELS.index(label), "area": box[2] * box[3]}
            found["annotations"].append({**about, "bbox": box, "iscrowd": 0})
    found["categories"] = [{"id": 3 + i, "name": label} for i, label in enumerate(LABELS)]
    return found


def write_coco(folder: Path, rows: int = 24) -> Path:
    """Write images into the folder `images`, and COCO's json beside it."""
    (folder / "coco.json").write_text(json.dumps(coco(folder, rows, "images")), encoding="utf-8")
    return folder / "coco.json"


DATA: dict[str, Callable[[Path, int], Path]] = {"object-detection": write_boxes}
