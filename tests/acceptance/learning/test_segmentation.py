"""A small segmenter learns which pixels of a photograph are of which icon, from random weights.

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

pytestmark = [pytest.mark.learning, pytest.mark.timeout(900)]


def _model(folder: Path) -> Path:
    """Save a SegFormer of 200,000 random weights for images of 96 by 96 pixels."""
    torch.manual_seed(0)
    config = hf.SegformerConfig(
        num_encoder_blocks=3,
        depths=[1, 1, 1],
        sr_ratios=[4, 2, 1],
        hidden_sizes=[16, 32, 64],
        patch_sizes=[7, 3, 3],
        strides=[2, 2, 2],
        num_attention_heads=[1, 2, 4],
        mlp_ratios=[2, 2, 2],
        decoder_hidden_size=64,
    )
    hf.SegformerModel(config).save_pretrained(folder)
    hf.SegformerImageProcessor(size={"height": 96, "width": 96}).save_pretrained(folder)
    return folder


def test_icons_are_found_on_photographs(tmp_path: Path) -> None:
    """Background, document, folder and face: the most frequent class everywhere has a mean IoU of about 0.22."""
    subprocess.run([sys.executable, str(ROOT / "examples" / "fetch.py"), "icons"], check=True)
    spec = {
        "name": "icons",
        "task": "image-segmentation",
        "model": str(_model(tmp_path / "model")),
        "dataset": {"source": {split: f"data/icons/{split}.csv" for split in ("train", "validation", "test")}},
        "space": {"learning_rate": {"low": 1e-3, "high": 4e-3, "log": True}, "batch_size": 8, "epochs": 8},
        "budget": {"trials": 2},
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
    assert best["test"]["mean_iou"] >= majority["test"]["mean_iou"] + 0.3
