"""Text encoders: CLIP (transformers' and OpenCLIP's names), T5, Qwen2.5-VL, Qwen3, Mistral, and llama.cpp's names.

Targets are the modules of the classes that the configurations in resources/model_configs name: CLIPTextModel (whose
names have no `text_model.`), CLIPTextModelWithProjection (whose have), T5EncoderModel, Qwen2_5_VLModel, Qwen3Model and
MistralModel, all without a language head, which picture models never run.
"""

from __future__ import annotations

from engine.models.layouts.rule import Rule, Shapes, Table, fused

_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
_CLIP_LAYER = (*(f"self_attn.{name}" for name in _ATTENTION), "layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2")


def _same(blocks: str, names: tuple[str, ...], to: str = "") -> dict[str, Rule]:
    return {f"{blocks}.*.{name}": Rule((f"{to or blocks}.*.{name}",)) for name in names}


def clip(*, projected: bool) -> Table:
    """CLIP as transformers names it, into CLIPTextModel or (`projected`) CLIPTextModelWithProjection."""
    inner = "text_model." if projected else ""
    modules = _same("text_model.encoder.layers", _CLIP_LAYER, f"{inner}encoder.layers")
    for name in ("embeddings.token_embedding", "embeddings.position_embedding", "final_layer_norm"):
        modules[f"text_model.{name}"] = Rule((f"{inner}{name}",))
    if projected:
        modules["text_projection"] = Rule(("text_projection",))
    return Table(modules, counts={"text_model.encoder.layers": "num_hidden_layers",
                                  "encoder.layers": "num_hidden_layers"})  # fmt: skip


def open_clip(*, projected: bool) -> Table:
    """OpenCLIP's text tower (open_clip/transformer.py): fused attention, the projection stored as its transpose."""
    inner = "text_model." if projected else ""
    source, target = "transformer.resblocks.*", f"{inner}encoder.layers.*"
    modules = {
        f"{source}.attn.in_proj": fused(*(f"{target}.self_attn.{name}" for name in _ATTENTION[:3])),
        f"{source}.attn.out_proj": Rule((f"{target}.self_attn.out_proj",)),
        f"{source}.ln_1": Rule((f"{target}.layer_norm1",)),
        f"{source}.ln_2": Rule((f"{target}.layer_norm2",)),
        f"{source}.mlp.c_fc": Rule((f"{target}.mlp.fc1",)),
        f"{source}.mlp.c_proj": Rule((f"{target}.mlp.fc2",)),
        "token_embedding": Rule((f"{inner}embeddings.token_embedding",)),
        "ln_final": Rule((f"{inner}final_layer_norm",)),
    }
    tensors = {"positional_embedding": Rule((f"{inner}embeddings.position_embedding.weight",))}
    if projected:
        tensors["text_projection"] = Rule(("text_projection.weight",), transpose=True)
    return Table(modules, tensors, {"transformer.resblocks": "num_hidden_layers"})


_T5_LAYER = (
    *(f"layer.0.SelfAttention.{name}" for name in ("q", "k", "v", "o", "relative_attention_bias")),
    "layer.0.layer_norm", *(f"layer.1.DenseReluDense.{name}" for name in ("wi_0", "wi_1", "wo")), "layer.1.layer_norm",
)  # fmt: skip


def t5(shapes: Shapes) -> Table:
    """T5's encoder. The embedding fills both names that T5EncoderModel ties; a file may have either or both."""
    modules = _same("encoder.block", _T5_LAYER)
    words = Rule(("shared", "encoder.embed_tokens"))
    modules["shared" if "shared.weight" in shapes or not shapes else "encoder.embed_tokens"] = words
    modules["encoder.final_layer_norm"] = Rule(("encoder.final_layer_norm",))
    return Table(modules, counts={"encoder.block": "num_layers"})


_T5_CPP = {
    "attn_q": "layer.0.SelfAttention.q", "attn_k": "layer.0.SelfAttention.k", "attn_v": "layer.0.SelfAttention.v",
    "attn_o": "layer.0.SelfAttention.o", "attn_rel_b": "layer.0.SelfAttention.relative_attention_bias",
    "attn_norm": "layer.0.layer_norm", "ffn_gate": "layer.1.DenseReluDense.wi_0",
    "ffn_up": "layer.1.DenseReluDense.wi_1", "ffn_down": "layer.1.DenseReluDense.wo", "ffn_norm": "layer.1.layer_norm",
}  # fmt: skip


def t5_cpp() -> Table:
    """T5's encoder as llama.cpp names it in GGUF."""
    modules = {f"enc.blk.*.{old}": Rule((f"encoder.block.*.{new}",)) for old, new in _T5_CPP.items()}
    modules["token_embd"] = Rule(("shared", "encoder.embed_tokens"))
    modules["enc.output_norm"] = Rule(("encoder.final_layer_norm",))
    return Table(modules, counts={"enc.blk": "num_layers"})


_LLM_LAYER = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
    "mlp.down_proj", "input_layernorm", "post_attention_layernorm",
)  # fmt: skip
_QWEN3_LAYER = (*_LLM_LAYER, "self_attn.q_norm", "self_attn.k_norm")


def language_model(source: str, target: str, *, normed: bool) -> Table:
    """A Llama-like model; `source` and `target` are what stands before `layers`. `normed`: as Qwen3, q and k are."""
    modules = _same(f"{source}layers", _QWEN3_LAYER if normed else _LLM_LAYER, f"{target}layers")
    for name in ("embed_tokens", "norm"):
        modules[f"{source}{name}"] = Rule((f"{target}{name}",))
    return Table(modules, counts={f"{source}layers": "num_hidden_layers", f"{target}layers": "num_hidden_layers"})


_VISION_BLOCK = (
    "norm1", "norm2", "attn.qkv", "attn.proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip
_VISION = ("patch_embed.proj", "merger.ln_q", "merger.mlp.0", "merger.mlp.2")


def qwen_vl(source: str, visual: str) -> Table:
    """Qwen2.5-VL: `source` stands before `layers`, `visual` before `blocks`; early files had `model.`, `visual.`."""
    table = language_model(source, "language_model.", normed=False)
    modules = dict(table.modules)
    modules |= _same(f"{visual}blocks", _VISION_BLOCK, "visual.blocks")
    modules |= {f"{visual}{name}": Rule((f"visual.{name}",)) for name in _VISION}
    return Table(modules, counts={**table.counts, f"{visual}blocks": "vision_depth", "visual.blocks": "vision_depth"})


_LLM_CPP = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip


def language_model_cpp(target: str) -> Table:
    """A Qwen model as llama.cpp names it in GGUF. (llama.cpp reorders the rows of q and k for Llama and Mistral.)"""
    modules = {f"blk.*.{old}": Rule((f"{target}layers.*.{new}",)) for old, new in _LLM_CPP.items()}
    modules["token_embd"] = Rule((f"{target}embed_tokens",))
    modules["output_norm"] = Rule((f"{target}norm",))
    return Table(modules, counts={"blk": "num_hidden_layers"})
