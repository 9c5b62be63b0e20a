"""Tiny models that segment pictures or find objects in them."""

from typing import Any

import transformers as hf

from tests.support.zoo.inputs import Model, config, models, pictures
from tests.support.zoo.text import H

IMAGE = H | {"image_size": 32, "patch_size": 8}
SEGFORMER: dict[str, Any] = {
    "num_encoder_blocks": 4, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 16, 32],
    "num_attention_heads": [1, 1, 2, 2], "decoder_hidden_size": 16,
}  # fmt: skip
PVT: dict[str, Any] = {
    "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 16, 32], "num_attention_heads": [1, 1, 2, 2], "image_size": 32,
    "mlp_ratios": [2, 2, 2, 2],
}  # fmt: skip
DETR: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 3, "decoder_layers": 3, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_queries": 5,
}  # fmt: skip


def _resnet(stages: int = 4) -> Any:
    names = [f"stage{i}" for i in range(1, 5)]
    return hf.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=names[-1:] if stages == 4 else names[-2:],
    )


VISION_MODELS: dict[str, dict[str, Model]] = {
    "image-classification": models(
        hf.AutoModelForImageClassification,
        pictures,
        {
            "ViT": config("ViT", IMAGE),
            "DINOv2": config("Dinov2", IMAGE),
            "BEiT": config("Beit", IMAGE),
            "Swin": config("Swin", embed_dim=8, depths=[2, 2], num_heads=[1, 2], image_size=32, window_size=4),
            "Swin V2": config("Swinv2", embed_dim=8, depths=[2, 2], num_heads=[1, 2], image_size=32, window_size=4),
            "ResNet": config("ResNet", embedding_size=8, hidden_sizes=[16, 32], depths=[2, 2], layer_type="bottleneck"),
            "ConvNeXt": config("ConvNext", hidden_sizes=[8, 16], depths=[2, 2], num_stages=2),
            "RegNet": config("RegNet", embedding_size=8, hidden_sizes=[16, 32], depths=[2, 2], groups_width=8),
            "MobileNetV2": config("MobileNetV2", depth_multiplier=0.1, image_size=32, tf_padding=False),
            "SegFormer": config("Segformer", SEGFORMER),
            "PVT": config("PvtV2", PVT),
        },
    ),
    "image-segmentation": models(
        hf.AutoModelForSemanticSegmentation,
        pictures,
        {
            "SegFormer": config(
                "Segformer",
                num_encoder_blocks=4,
                depths=[1, 1, 1, 1],
                hidden_sizes=[8, 16, 16, 32],
                num_attention_heads=[1, 1, 2, 2],
                decoder_hidden_size=16,
            ),
            "SegFormer, deep": config(
                "Segformer",
                num_encoder_blocks=4,
                depths=[1, 2, 1, 2],
                hidden_sizes=[8, 16, 16, 32],
                num_attention_heads=[1, 1, 2, 2],
                decoder_hidden_size=16,
            ),
            "BEiT": config("Beit", IMAGE | {"num_hidden_layers": 4}, out_indices=[1, 2, 3, 4], auxiliary_channels=8),
            "Data2Vec": config(
                "Data2VecVision", IMAGE | {"num_hidden_layers": 4}, out_indices=[1, 2, 3, 4], auxiliary_channels=8
            ),
            "DPT": config(
                "DPT",
                IMAGE | {"num_hidden_layers": 4},
                backbone_out_indices=[0, 1, 2, 3],
                neck_hidden_sizes=[8, 8, 16, 16],
                fusion_hidden_size=16,
                is_hybrid=False,
                auxiliary_channels=8,
            ),
            "UperNet, Swin": lambda: hf.UperNetConfig(
                backbone_config=hf.SwinConfig(
                    embed_dim=8,
                    depths=[1, 1, 2, 1],
                    num_heads=[1, 1, 2, 2],
                    image_size=32,
                    patch_size=1,
                    window_size=4,
                    out_features=["stage1", "stage2", "stage3", "stage4"],
                ),
                hidden_size=16,
                auxiliary_in_channels=32,
                auxiliary_channels=8,
            ),
            "UperNet, ConvNeXt": lambda: hf.UperNetConfig(
                backbone_config=hf.ConvNextConfig(
                    hidden_sizes=[8, 8, 16, 16],
                    depths=[1, 1, 1, 1],
                    patch_size=1,
                    num_stages=4,
                    out_features=["stage1", "stage2", "stage3", "stage4"],
                ),
                hidden_size=16,
                auxiliary_in_channels=16,
                auxiliary_channels=8,
            ),
            "MobileViT": config(
                "MobileViT",
                image_size=32,
                hidden_sizes=[16, 24, 32],
                neck_hidden_sizes=[8, 8, 16, 16, 24, 32, 32],
                num_attention_heads=2,
                aspp_out_channels=16,
            ),
            "MobileNetV2": config("MobileNetV2", depth_multiplier=0.1, image_size=32, tf_padding=False),
        },
    ),
    "object-detection": models(
        hf.AutoModelForObjectDetection,
        pictures,
        {
            "YOLOS": config("Yolos", H, image_size=[32, 32], patch_size=8, num_detection_tokens=4),
            "YOLOS, small": config(
                "Yolos", H, image_size=[32, 32], patch_size=8, num_detection_tokens=4, use_mid_position_embeddings=False
            ),
            "DETR": lambda: hf.DetrConfig(**DETR, use_timm_backbone=False, backbone_config=_resnet()),
            "Conditional DETR": lambda: hf.ConditionalDetrConfig(
                **DETR, use_timm_backbone=False, backbone_config=_resnet()
            ),
            "Deformable DETR": lambda: hf.DeformableDetrConfig(
                **DETR | {"encoder_layers": 2, "d_model": 64},
                use_timm_backbone=False,
                backbone_config=_resnet(3),
                num_feature_levels=2,
                encoder_n_points=2,
                decoder_n_points=2,
            ),
            "RT-DETR": lambda: hf.RTDetrConfig(
                use_timm_backbone=False,
                backbone_config=hf.RTDetrResNetConfig(
                    embedding_size=8,
                    hidden_sizes=[8, 8, 16, 16],
                    depths=[1, 1, 1, 1],
                    layer_type="basic",
                    out_features=["stage2", "stage3", "stage4"],
                ),
                encoder_hidden_dim=32,
                encoder_in_channels=[8, 16, 16],
                d_model=32,
                num_queries=5,
                decoder_in_channels=[32, 32, 32],
                decoder_ffn_dim=64,
                encoder_ffn_dim=64,
                decoder_layers=2,
                decoder_attention_heads=2,
                encoder_attention_heads=2,
                decoder_n_points=2,
                num_denoising=0,
                hidden_expansion=0.5,
            ),
        },
        outputs=("logits", "pred_boxes"),
    ),
}
