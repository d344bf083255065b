"""Stable Video Diffusion for plans: its parts and their configurations (img2vid; xt makes 25 frames). Torch-free.

The studio has no family of its own for it; diffusers' pipeline runs it (engine.nodes.sample.diffusers_pipeline).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from engine.models.family_parts import FAMILY_PARTS, FamilyParts

SVD_FRAMES = 14
PARTS: Mapping[str, FamilyParts] = MappingProxyType(
    {
        **FAMILY_PARTS,
        "svd": FamilyParts(
            "unet",
            {
                "unet": ("UNetSpatioTemporalConditionModel",), "vae": ("AutoencoderKLTemporalDecoder",),
                "image_encoder": ("CLIPVisionModelWithProjection",),
            },
            half=True,
        ),
    }
)  # fmt: skip
SVD_CONFIGS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "unet": {
            "_class_name": "UNetSpatioTemporalConditionModel", "in_channels": 8, "out_channels": 4,
            "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2, "cross_attention_dim": 1024,
            "num_attention_heads": [5, 10, 20, 20], "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 768, "transformer_layers_per_block": 1,
            "num_frames": SVD_FRAMES, "sample_size": 96,
            "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * 3 + ["DownBlockSpatioTemporal"],
            "up_block_types": ["UpBlockSpatioTemporal"] + ["CrossAttnUpBlockSpatioTemporal"] * 3,
        },
        "vae": {
            "_class_name": "AutoencoderKLTemporalDecoder", "in_channels": 3, "out_channels": 3, "latent_channels": 4,
            "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "sample_size": 768,
            "down_block_types": ["DownEncoderBlock2D"] * 4, "scaling_factor": 0.18215, "force_upcast": True,
        },
        "image_encoder": {
            "architectures": ["CLIPVisionModelWithProjection"], "hidden_size": 1280, "intermediate_size": 5120,
            "projection_dim": 1024, "num_hidden_layers": 32, "num_attention_heads": 16, "image_size": 224,
            "patch_size": 14, "hidden_act": "gelu",
        },
    }
)  # fmt: skip
