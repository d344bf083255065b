"""The transformers of SD3, Flux.1, Chroma, Flux.2, Qwen-Image and Z-Image, from their authors' names to diffusers'.

Sources: sd3_impls/mmdit.py (Stability), flux/model.py and flux2/model.py (Black Forest Labs), Chroma's fork of the
former, Qwen-Image's and Z-Image's own code. Numbers of blocks are written as `*`.
"""

from __future__ import annotations

from engine.models.layouts.rule import Rule, Table, fused, swapped


def _one(target: str, *, inner: bool = True) -> Rule:
    return Rule((target,), inner=inner)


_QKV, _ADDED = ("to_q", "to_k", "to_v"), ("add_q_proj", "add_k_proj", "add_v_proj")


def _sd3() -> Table:
    block, target = "joint_blocks.*", "transformer_blocks.*"
    image, text = f"{block}.x_block", f"{block}.context_block"
    modules = {
        "x_embedder.proj": _one("pos_embed.proj"),
        "t_embedder.mlp.0": _one("time_text_embed.timestep_embedder.linear_1"),
        "t_embedder.mlp.2": _one("time_text_embed.timestep_embedder.linear_2"),
        "y_embedder.mlp.0": _one("time_text_embed.text_embedder.linear_1"),
        "y_embedder.mlp.2": _one("time_text_embed.text_embedder.linear_2"),
        "context_embedder": _one("context_embedder"),
        "final_layer.linear": _one("proj_out"),
        "final_layer.adaLN_modulation.1": swapped("norm_out.linear"),
        f"{image}.attn.qkv": fused(*(f"{target}.attn.{name}" for name in _QKV)),
        f"{text}.attn.qkv": fused(*(f"{target}.attn.{name}" for name in _ADDED)),
        f"{image}.attn2.qkv": fused(*(f"{target}.attn2.{name}" for name in _QKV)),
        f"{image}.attn.proj": _one(f"{target}.attn.to_out.0"),
        f"{image}.attn2.proj": _one(f"{target}.attn2.to_out.0"),
        f"{text}.attn.proj": _one(f"{target}.attn.to_add_out", inner=False),
        f"{image}.adaLN_modulation.1": _one(f"{target}.norm1.linear"),
        # In the last block the text only feeds the attention: two parts instead of six, in the other order.
        f"{text}.adaLN_modulation.1": Rule((f"{target}.norm1_context.linear",), swap="last"),
        f"{image}.mlp.fc1": _one(f"{target}.ff.net.0.proj"),
        f"{image}.mlp.fc2": _one(f"{target}.ff.net.2"),
        f"{text}.mlp.fc1": _one(f"{target}.ff_context.net.0.proj", inner=False),
        f"{text}.mlp.fc2": _one(f"{target}.ff_context.net.2", inner=False),
    }
    for letter in "qk":
        modules[f"{image}.attn.ln_{letter}"] = _one(f"{target}.attn.norm_{letter}")
        modules[f"{image}.attn2.ln_{letter}"] = _one(f"{target}.attn2.norm_{letter}")
        modules[f"{text}.attn.ln_{letter}"] = _one(f"{target}.attn.norm_added_{letter}")
    counts = {"joint_blocks": "num_layers", "transformer_blocks": "num_layers"}
    return Table(modules, {"pos_embed": _one("pos_embed.pos_embed")}, counts)


def _streams() -> dict[str, Rule]:
    """What the blocks of Flux.1, Chroma and Flux.2 have in common."""
    double, target = "double_blocks.*", "transformer_blocks.*"
    modules = {
        "img_in": _one("x_embedder"),
        "txt_in": _one("context_embedder"),
        "final_layer.linear": _one("proj_out"),
        f"{double}.img_attn.qkv": fused(*(f"{target}.attn.{name}" for name in _QKV)),
        f"{double}.txt_attn.qkv": fused(*(f"{target}.attn.{name}" for name in _ADDED)),
        f"{double}.img_attn.proj": _one(f"{target}.attn.to_out.0"),
        f"{double}.txt_attn.proj": _one(f"{target}.attn.to_add_out"),
    }
    for word, letter in (("query", "q"), ("key", "k")):
        modules[f"{double}.img_attn.norm.{word}_norm"] = _one(f"{target}.attn.norm_{letter}")
        modules[f"{double}.txt_attn.norm.{word}_norm"] = _one(f"{target}.attn.norm_added_{letter}")
        modules[f"single_blocks.*.norm.{word}_norm"] = _one(f"single_transformer_blocks.*.attn.norm_{letter}")
    return modules


_STREAM_COUNTS = {
    "double_blocks": "num_layers", "single_blocks": "num_single_layers", "transformer_blocks": "num_layers",
    "single_transformer_blocks": "num_single_layers",
}  # fmt: skip


def _feed_forward(inner: str, outer: str) -> dict[str, Rule]:
    double, target = "double_blocks.*", "transformer_blocks.*"
    return {
        f"{double}.{stream}_mlp.{number}": _one(f"{target}.{layer}.{name}")
        for stream, layer in (("img", "ff"), ("txt", "ff_context"))
        for number, name in ((0, inner), (2, outer))
    }


def _flux_blocks() -> dict[str, Rule]:
    single = "single_transformer_blocks.*"
    targets = (*(f"{single}.attn.{name}" for name in _QKV), f"{single}.proj_mlp")
    return {
        **_streams(),
        **_feed_forward("net.0.proj", "net.2"),
        "single_blocks.*.linear1": Rule(targets, split="width"),
        "single_blocks.*.linear2": _one(f"{single}.proj_out"),
    }


def _embedders(source: dict[str, str]) -> dict[str, Rule]:
    return {
        f"{old}.{layer}": _one(f"{new}.linear_{number}")
        for old, new in source.items()
        for number, layer in ((1, "in_layer"), (2, "out_layer"))
    }


def _flux() -> Table:
    modules = {
        **_flux_blocks(),
        **_embedders({"time_in": "time_text_embed.timestep_embedder", "vector_in": "time_text_embed.text_embedder",
                      "guidance_in": "time_text_embed.guidance_embedder"}),
        "final_layer.adaLN_modulation.1": swapped("norm_out.linear"),
        "double_blocks.*.img_mod.lin": _one("transformer_blocks.*.norm1.linear"),
        "double_blocks.*.txt_mod.lin": _one("transformer_blocks.*.norm1_context.linear"),
        "single_blocks.*.modulation.lin": _one("single_transformer_blocks.*.norm.linear"),
    }  # fmt: skip
    return Table(modules, counts=_STREAM_COUNTS)


def _chroma() -> Table:
    """Flux.1 without its modulations, which one small network gives for all blocks."""
    guide = "distilled_guidance_layer"
    modules = {
        **_flux_blocks(),
        f"{guide}.in_proj": _one(f"{guide}.in_proj"),
        f"{guide}.out_proj": _one(f"{guide}.out_proj"),
        f"{guide}.layers.*.in_layer": _one(f"{guide}.layers.*.linear_1"),
        f"{guide}.layers.*.out_layer": _one(f"{guide}.layers.*.linear_2"),
        f"{guide}.norms.*": _one(f"{guide}.norms.*"),
    }
    depth = "approximator_layers"
    return Table(modules, counts={**_STREAM_COUNTS, f"{guide}.layers": depth, f"{guide}.norms": depth})


def _flux2() -> Table:
    single = "single_transformer_blocks.*"
    modules = {
        **_streams(),
        **_feed_forward("linear_in", "linear_out"),
        **_embedders({"time_in": "time_guidance_embed.timestep_embedder",
                      "guidance_in": "time_guidance_embed.guidance_embedder"}),
        **{f"{name}.lin": _one(f"{name}.linear") for name in
           ("double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation")},
        "final_layer.adaLN_modulation.1": swapped("norm_out.linear"),
        "single_blocks.*.linear1": _one(f"{single}.attn.to_qkv_mlp_proj"),
        "single_blocks.*.linear2": _one(f"{single}.attn.to_out"),
    }  # fmt: skip
    return Table(modules, counts=_STREAM_COUNTS)


def _qwen_image() -> Table:
    """diffusers' class is the authors' own: the names are the same."""
    attention = (*_QKV, *_ADDED, "to_out.0", "to_add_out", "norm_q", "norm_k", "norm_added_q", "norm_added_k")
    inside = [f"attn.{name}" for name in attention] + [
        f"{stream}_{name}" for stream in ("img", "txt") for name in ("mod.1", "mlp.net.0.proj", "mlp.net.2")
    ]
    names = ["img_in", "txt_in", "txt_norm", "norm_out.linear", "proj_out"]
    names += [f"time_text_embed.timestep_embedder.linear_{number}" for number in (1, 2)]
    names += [f"transformer_blocks.*.{name}" for name in inside]
    return Table({name: _one(name) for name in names}, counts={"transformer_blocks": "num_layers"})


def _z_image() -> Table:
    modules = {
        "x_embedder": _one("all_x_embedder.2-1"),
        "t_embedder.mlp.0": _one("t_embedder.mlp.0"),
        "t_embedder.mlp.2": _one("t_embedder.mlp.2"),
        "cap_embedder.0": _one("cap_embedder.0"),
        "cap_embedder.1": _one("cap_embedder.1"),
        "final_layer.linear": _one("all_final_layer.2-1.linear"),
        "final_layer.adaLN_modulation.1": _one("all_final_layer.2-1.adaLN_modulation.1"),
    }
    for blocks in ("layers.*", "noise_refiner.*", "context_refiner.*"):
        attention = f"{blocks}.attention"
        modules |= {
            f"{attention}.qkv": fused(*(f"{attention}.{name}" for name in _QKV)),
            f"{attention}.out": _one(f"{attention}.to_out.0"),
            f"{attention}.q_norm": _one(f"{attention}.norm_q"),
            f"{attention}.k_norm": _one(f"{attention}.norm_k"),
        }
        same = [f"feed_forward.w{number}" for number in (1, 2, 3)]
        same += ["attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2"]
        if not blocks.startswith("context"):
            same.append("adaLN_modulation.0")
        modules |= {f"{blocks}.{name}": _one(f"{blocks}.{name}") for name in same}
    tensors = {name: _one(name) for name in ("x_pad_token", "cap_pad_token")}
    refiners = "n_refiner_layers"
    return Table(modules, tensors, {"layers": "n_layers", "noise_refiner": refiners, "context_refiner": refiners})


# Family → the table of its transformer.
TRANSFORMERS: dict[str, Table] = {
    "sd3": _sd3(), "flux": _flux(), "flux2": _flux2(), "chroma": _chroma(), "qwen_image": _qwen_image(),
    "z_image": _z_image(),
}  # fmt: skip
