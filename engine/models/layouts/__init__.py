"""Offline loading of single files: layouts, configurations and tokenizers, without torch.

parts_in(shapes, family="")       part → prefix: what a file holds
key_map(family, part, shapes)     where each of the part's tensors goes
apply(placement, tensor)          the tensor as its target wants it
variant_of(family, part, shapes)  which configuration the part has
config_of(family, variant, part)  that configuration
tokenizer_folder(kind)            a tokenizer in transformers' layout
module_map(family, part)          every original module of the full model: names for LoRA and ControlNet
"""

from engine.models.layouts.configs import config_of, default_variant, tokenizer_folder, variants_of
from engine.models.layouts.parts import ENCODERS, encoder_of, parts_in
from engine.models.layouts.rule import KeyMap, Placement, apply, placed_shape
from engine.models.layouts.table import key_map, module_map

__all__ = [
    "ENCODERS", "KeyMap", "Placement", "apply", "config_of", "default_variant", "encoder_of", "key_map", "module_map",
    "parts_in", "placed_shape", "tokenizer_folder", "variants_of",
]  # fmt: skip
