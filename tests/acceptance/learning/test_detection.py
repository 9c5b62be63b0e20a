"""A small detector learns where icons lie on photographs, and of which kind they are, from random weights.

make test-learning
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers as hf

from tests.support.paths import ROOT

pytestmark = [pytest.mark.learning, pytest.mark.timeout(1800)]


def _model(folder: Path) -> Path:
    """Save an RT-DETR of 400,000 random weights for images of 64 by 64 pixels, with an answer for each of 20 places."""
    torch.manual_seed(0)
    backbone = hf.RTDetrResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 16, 32, 64],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage3", "stage4"],
    )
    config = hf.RTDetrConfig(
        use_timm_backbone=False,
        backbone_config=backbone,
        encoder_hidden_dim=64,
        encoder_in_channels=[32, 64],
        d_model=64,
        num_queries=20,
        decoder_in_channels=[64, 64],
        feat_strides=[16, 32],
        num_feature_levels=2,
        encode_proj_layers=[1],
        decoder_ffn_dim=128,
        encoder_ffn_dim=128,
        decoder_layers=2,
        decoder_attention_heads=4,
        encoder_attention_heads=4,
        num_denoising=0,
        hidden_expansion=0.5,
        auxiliary_loss=False,
    )
    hf.AutoModelForObjectDetection.from_config(config).save_pretrained(folder)
    hf.RTDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def test_icons_are_found_on_photographs(tmp_path: Path) -> None:
    """Folders, faces and documents, one to three in an image: the mean box of the commonest has a map near 0."""
    subprocess.run([sys.executable, str(ROOT / "examples" / "fetch.py"), "icons"], check=True)
    spec = {
        "name": "icons",
        "task": "object-detection",
        "model": str(_model(tmp_path / "model")),
        "dataset": {"source": {split: f"data/icons/{split}/coco.json" for split in ("train", "validation", "test")}},
        "space": {"learning_rate": 2e-3, "batch_size": 8, "epochs": 30, "weight_decay": 1e-4},
        "budget": {"trials": 1},
        "pruner": {"name": "none"},
    }
    file = tmp_path / "study.json"
    file.write_text(json.dumps(spec))
    command = [sys.executable, "-c", "from luthier.service.cli import main; main()", "run", str(file), "--json"]
    environment = os.environ | {"LUTHIER_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    result = json.loads(ran.stdout)
    best, majority = result["best"], result["majority"]
    print(f"icons: {best}, majority {majority}")
    assert best["test"]["map_50"] >= majority["test"]["map_50"] + 0.05
