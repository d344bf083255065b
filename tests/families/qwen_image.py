from __future__ import annotations
from pathlib import Path
import torch
from tests.families import _language, room


def tiny(folder: Path) -> Path:
    from diffusers import AutoencoderKLQwenImage, QwenImageControlNetModel, QwenImageTransformer2DModel

    torch.manual_seed(0)
    vocabulary = _language.write_qwen_tokenizer(folder / "tokenizer")
    _language.write_qwen25_vl(folder / "text_encoder", vocabulary)
    transformer = QwenImageTransformer2DModel(
        in_channels=64,
        out_channels=16,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=_language.WIDTH,
        axes_dims_rope=(4, 6, 6),
    )
    transformer.save_pretrained(folder / "transformer")
    AutoencoderKLQwenImage(base_dim=8, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1).save_pretrained(
        folder / "vae"
    )
    net = QwenImageControlNetModel.from_transformer(transformer, num_layers=1)
    room.lively(net).save_pretrained(folder / "nets" / "edges")
    room.write_json(
        folder / "scheduler" / "scheduler_config.json",
        {
            "_class_name": "FlowMatchEulerDiscreteScheduler",
            "base_image_seq_len": 256,
            "base_shift": 0.5,
            "max_image_seq_len": 8192,
            "max_shift": 0.9,
            "num_train_timesteps": 1000,
            "shift": 1.0,
            "shift_terminal": 0.02,
            "time_shift_type": "exponential",
            "use_dynamic_shifting": True,
        },
    )
    return room.write_index(folder, "QwenImagePipeline")
