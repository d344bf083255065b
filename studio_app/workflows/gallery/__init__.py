"""The starter gallery: each template is drawn here, and written with its picture by `write`."""

from __future__ import annotations

from collections.abc import Callable

from studio_app.workflows.gallery import basics, control, editing, larger, several, words
from studio_app.workflows.gallery.drawing import Drawing

# In the gallery's order. The name of a function is the template's id.
TEMPLATES: tuple[Callable[[], Drawing], ...] = (
    basics.text_to_picture, basics.variations, basics.picture_to_picture, basics.compare_settings,
    basics.custom_sampling, basics.model_patches,
    editing.inpaint, editing.outpaint, editing.differential_diffusion, editing.mask_tools, editing.recolour,
    editing.finishing,
    larger.hires_fix, larger.tiled_upscale, larger.two_stages,
    control.control_edges, control.two_controls,
    words.regional_prompts, words.masked_prompts, words.prompt_schedule, words.wildcards, words.and_composition,
    words.blend_prompts,
    several.prompt_list, several.xy_grid, several.folder_batch, several.seed_travel, several.subgraph_example,
    several.repeat_refine,
)  # fmt: skip
