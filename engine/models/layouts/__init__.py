"""Offline loading of single files: layouts, configurations and tokenizers, without torch.

- `parts_in(shapes, family="")`: part → prefix, what a file holds
- `key_map(family, part, shapes)`: where each of the part's tensors goes; `apply(placement, tensor)` brings it there
- `variant_of(family, part, shapes)`: which variant the part is of
- `config_of(family, variant, part)`: a variant's configuration; `config_for(family, part, shapes)`: the same with the
  number of blocks that this file has, ready to build the class that it names (`_class_name` or `architectures`)
- `tokenizer_folder(kind)`: a tokenizer as transformers reads it
- `module_map(family, part)`: every original module of the full model, the names that LoRA and ControlNet files use
"""

from engine.models.layouts.configs import config_of, default_variant, tokenizer_folder, variants_of
from engine.models.layouts.parts import ENCODERS, encoder_of, parts_in
from engine.models.layouts.rule import KeyMap, Placement, apply, placed_shape
from engine.models.layouts.table import key_map, module_map
from engine.models.layouts.variants import config_for, variant_of

__all__ = [
    "ENCODERS", "KeyMap", "Placement", "apply", "config_for", "config_of", "default_variant", "encoder_of", "key_map",
    "module_map", "parts_in", "placed_shape", "tokenizer_folder", "variant_of", "variants_of",
]  # fmt: skip
