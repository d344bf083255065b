"""An image request → a workflow with its form, and back.

What Create, the command line and the APIs all use. The graph is an ordinary one: opened on the canvas it reads like
one a person drew. The request stays in the workflow's `recipe` field, so that a result can be opened in Create again
as long as nobody has changed the graph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from engine.contracts.errors import InvalidDocument, InvalidRequest
from engine.contracts.job_spec import AllowedLoss, Binding, JobSpec, Sweep
from engine.contracts.workflow import BlobRef, InputValue, Link, Workflow
from engine.prompts import schedule
from engine.prompts.styles import merge_style
from engine.prompts.tags import lora_of, take_tags
from engine.prompts.wildcards import has_choices
from engine.recipes.checks import MAX_SEED, check_request
from engine.recipes.drawing import Graph, form_of
from engine.recipes.enlarge import Sizes, filled, sizes_of
from engine.recipes.larger import Before, add_enlarging
from engine.recipes.margins import Margins
from engine.recipes.recommended import Recommended
from engine.recipes.request import ImageRequest

BATCH_LIMIT = 8  # pictures made in one pass; more run one after the other with the seeds counting on
RECIPE = "recipe"


@dataclass(frozen=True)
class StyleText:
    """What a style adds to the prompt and to the negative prompt."""

    prompt: str = ""
    negative: str = ""


@dataclass(frozen=True)
class _Resolved:
    """A request with every open setting filled in."""

    request: ImageRequest
    width: int
    height: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str
    sizes: Sizes | None = None  # where the picture is enlarged


def build(request: ImageRequest, model: Recommended, style: StyleText | None = None) -> JobSpec:
    """The job that makes what `request` asks for, with everything left open taken from the model.

    Raises InvalidRequest or UnknownChoice with one sentence for the first thing that is out of range.
    """
    resolved = _resolve(request, model)
    return _assemble(resolved, model.inpainting, style or StyleText())


def request_of(spec: JobSpec) -> ImageRequest | None:
    """The request a job was built from, every setting filled in, or None when it was not built here or was changed."""
    note = spec.workflow.extra.get(RECIPE)
    if not isinstance(note, dict):
        return None
    try:
        request = ImageRequest.from_json(note.get("request"))
    except InvalidDocument:
        return None
    texts = [note.get("style_prompt", ""), note.get("style_negative", "")]
    if not all(isinstance(text, str) for text in texts):
        return None
    try:
        resolved = _closed(request, None if note.get("sizes") is None else Sizes.from_json(note.get("sizes")))
    except (InvalidRequest, InvalidDocument):
        return None
    style = StyleText(*texts)
    rebuilt = _assemble(resolved, note.get("inpainting") is True, style)
    if _inputs_of(rebuilt) == _inputs_of(spec):
        return request
    return _request_of_run(request, style, rebuilt, spec)


def _request_of_run(request: ImageRequest, style: StyleText, whole: JobSpec, spec: JobSpec) -> ImageRequest | None:
    """The request for one run of a job that ran several times: what a picture of it carries."""
    if _nodes_of(whole) != _nodes_of(spec):
        return None
    swept = {key: value.values for key, value in whole.bindings.items() if isinstance(value, Sweep)}
    for values in zip(*swept.values(), strict=True):
        run = dict(zip(swept, values, strict=True))
        if run == dict(spec.bindings):
            count = run.get("latent.batch_size", min(request.count, _pass_limit(request, style)))
            seeded = "sampler.seed" if "sampler.seed" in run else "second.seed"
            return replace(request, seed=run[seeded], count=count)
    return None


def _resolve(request: ImageRequest, model: Recommended) -> _Resolved:
    check_request(request, model)
    settled = replace(
        request,
        width=model.width if request.width is None else request.width,
        height=model.height if request.height is None else request.height,
        steps=model.steps if request.steps is None else request.steps,
        cfg=float(model.cfg if request.cfg is None else request.cfg),
        sampler=request.sampler or model.sampler,
        scheduler=request.scheduler or model.scheduler,
    )
    if not request.enlarge:
        return _closed(settled)
    enlarge = settled.enlarge
    alone = enlarge.as_is and not enlarge.redraws  # nothing is drawn, so that every picture would be the same
    settled = replace(
        settled, enlarge=filled(enlarge, settled.steps or model.steps, model), count=1 if alone else settled.count
    )
    size = settled.margins.around((settled.width or model.width, settled.height or model.height))
    return _closed(settled, sizes_of(enlarge, size, model, drawn=settled.init is None))


def _closed(settled: ImageRequest, sizes: Sizes | None = None) -> _Resolved:
    """A request with nothing open. Raises InvalidRequest when something is."""
    f = settled
    if f.width is None or f.height is None or f.steps is None or f.cfg is None or not f.sampler or not f.scheduler:
        raise InvalidRequest("the request leaves a setting open")
    if f.enlarge and (sizes is None or (f.enlarge.redraws and None in (f.enlarge.strength, f.enlarge.steps))):
        raise InvalidRequest("the request leaves open how it is enlarged")
    return _Resolved(f, f.width, f.height, f.steps, f.cfg, f.sampler, f.scheduler, sizes if f.enlarge else None)


def _assemble(resolved: _Resolved, inpainting: bool, style: StyleText) -> JobSpec:
    request, sizes = resolved.request, resolved.sizes
    graph = Graph()
    graph.add("checkpoint", "load.checkpoint", "Load checkpoint", checkpoint=request.model)
    model, clip = Link("checkpoint", "model"), Link("checkpoint", "clip")
    prompt = merge_style(request.prompt, style.prompt)
    if _names_loras(prompt):
        # Choices are made before tags are read: a wildcard may stand for a LoRA.
        source: InputValue = Link("prompt_choices", "text") if has_choices(prompt) else prompt
        graph.add("loras", "load.prompt_loras", "LoRAs of the prompt", model=model, clip=clip, text=source)
        model, clip = Link("loras", "model"), Link("loras", "clip")
    if request.clip_skip:
        graph.add("clip_skip", "condition.clip_skip", "CLIP skip", clip=clip, skip=request.clip_skip)
        clip = Link("clip_skip", "clip")
    starts, counts = _batches(request, _pass_limit(request, style))
    bindings: dict[str, Binding] = {}
    drawn = not (sizes and request.enlarge.as_is)
    if drawn or request.enlarge.prompt:
        for node_id, title, text in (
            ("prompt", "Prompt", prompt),
            ("negative", "Negative prompt", merge_style(request.negative, style.negative)),
        ):
            chooser = _add_prompt(graph, node_id, title, text, clip, resolved, starts[0])
            if chooser and len(starts) > 1:
                bindings[f"{chooser}.seed"] = Sweep(starts)
    result = (
        _add_drawing(graph, resolved, inpainting, model, starts[0], counts) if drawn else _add_as_it_is(graph, request)
    )
    if drawn and request.init is None and len(set(counts)) > 1:
        bindings["latent.batch_size"] = Sweep(counts)
    if sizes:
        before = Before(
            result, model, clip, starts[0], resolved.cfg, resolved.sampler, resolved.scheduler,
            guide=Link("sampler", "latent") if drawn and result.node == "decode" else None,
        )  # fmt: skip
        result = add_enlarging(graph, request.enlarge, sizes, before)
    if len(starts) > 1:
        bindings |= {f"{node.id}.seed": Sweep(starts) for node in graph.nodes if node.id in ("sampler", "second")}
    graph.add("save", "image.save", "Save", image=result, file_format=request.file_format)
    note: dict[str, Any] = {"request": request.to_json()}
    if style.prompt or style.negative:
        note |= {"style_prompt": style.prompt, "style_negative": style.negative}
    if inpainting:
        note["inpainting"] = True
    if sizes:
        note["sizes"] = sizes.to_json()
    workflow = Workflow(name="Picture", nodes=graph.placed(), form=form_of(graph), extra={RECIPE: note})
    loss: AllowedLoss = "quantised" if request.fast else "none"
    return JobSpec(workflow=workflow, bindings=bindings, allowed_loss=loss, title=title_of(request.prompt))


def _add_drawing(
    graph: Graph, resolved: _Resolved, inpainting: bool, model: Link, seed: InputValue, counts: tuple[InputValue, ...]
) -> Link:
    """The run that draws the picture; where it comes out."""
    request, sizes = resolved.request, resolved.sizes
    positive, negative = Link("prompt", "conditioning"), Link("negative", "conditioning")
    if request.init is None:
        graph.add(
            "latent", "latent.empty", "Empty latent",
            width=sizes.first_width if sizes else resolved.width,
            height=sizes.first_height if sizes else resolved.height, batch_size=counts[0],
        )  # fmt: skip
        latent, denoise, mask, result = Link("latent", "latent"), 1.0, _MASK, Link("decode", "image")
    else:
        denoise = request.strength
        mask = _MASK
        _add_picture(graph, request.init, resolved)
        if request.margins:
            positive, negative, latent, mask = _add_margins(graph, request.margins, inpainting)
            denoise, result = 1.0, Link("composite", "image")
        elif request.mask is None:
            graph.add("latent", "latent.encode_image", "Encode", vae=Link("checkpoint", "vae"), image=_PICTURE)
            latent, result = Link("latent", "latent"), Link("decode", "image")
        else:
            positive, negative, latent, mask = _add_mask(graph, request.mask, resolved, inpainting)
            result = Link("composite", "image")
    graph.add(
        "sampler", "sample.k_sampler", "Sampler",
        model=model, positive=positive, negative=negative, latent=latent,
        seed=seed, steps=resolved.steps, cfg=resolved.cfg, sampler=resolved.sampler,
        scheduler=resolved.scheduler, denoise=denoise, **({"fast": True} if request.fast else {}),
    )  # fmt: skip
    graph.add(
        "decode", "latent.decode_image", "Decode", vae=Link("checkpoint", "vae"), latent=Link("sampler", "latent")
    )
    if result.node == "composite":
        graph.add(
            "composite", "image.composite", "Composite",
            destination=Link("outpaint", "image") if request.margins else _PICTURE,
            source=Link("decode", "image"), mask=mask,
        )  # fmt: skip
    return result


def _add_as_it_is(graph: Graph, request: ImageRequest) -> Link:
    """The picture that is enlarged without being drawn anew."""
    assert request.init is not None  # as check_enlarge asked for
    graph.add("picture", "image.load", "Picture", image=request.init)
    return Link("picture", "image")


_PICTURE = Link("scale", "image")
_MASK = Link("mask", "mask")


def _add_prompt(
    graph: Graph, node_id: str, title: str, text: str, clip: Link, resolved: _Resolved, seed: InputValue
) -> str:
    """A prompt's encoder; the id of the node that chooses among its wildcards, "" where it has none."""
    chooser = f"{node_id}_choices" if has_choices(text) else ""
    inputs: dict[str, InputValue] = {"clip": clip, "text": text}
    if chooser:
        graph.add(chooser, "text.wildcard", f"{title} choices", text=text, seed=seed)
        inputs["text"] = Link(chooser, "text")
    # Other prompts are encoded alike whatever the steps are, so that another number of them encodes nothing anew.
    if chooser or schedule.read(text).groups:
        inputs["steps"] = resolved.steps
    graph.add(node_id, "condition.encode_text", title, **inputs)
    return chooser


def _names_loras(text: str) -> bool:
    return any(lora_of(tag) is not None for tag in take_tags(text)[1])


def _add_picture(graph: Graph, init: BlobRef, resolved: _Resolved) -> None:
    graph.add("picture", "image.load", "Picture", image=init)
    graph.add(
        "scale", "image.scale", "Fit size",
        image=Link("picture", "image"), width=resolved.width, height=resolved.height, method="lanczos", crop="center",
    )  # fmt: skip


def _add_mask(graph: Graph, mask: BlobRef, resolved: _Resolved, inpainting: bool) -> tuple[Link, Link, Link, Link]:
    """(positive, negative, latent, mask) of an inpainting run. The mask is scaled the way its picture is."""
    graph.add("mask_picture", "image.load", "Mask picture", image=mask)
    graph.add(
        "mask_scale", "image.scale", "Fit mask",
        image=Link("mask_picture", "image"),
        width=resolved.width, height=resolved.height, method="nearest", crop="center",
    )  # fmt: skip
    graph.add("mask", "mask.from_image", "Mask", image=Link("mask_scale", "image"), channel="red")
    mask_link = _MASK
    if resolved.request.mask_feather:
        graph.add("feather", "mask.feather", "Feather", mask=_MASK, radius=resolved.request.mask_feather)
        mask_link = Link("feather", "mask")
    positive, negative = Link("prompt", "conditioning"), Link("negative", "conditioning")
    vae = Link("checkpoint", "vae")
    if inpainting:
        graph.add(
            "latent", "condition.inpaint_model", "Inpainting model",
            positive=positive, negative=negative, vae=vae, image=_PICTURE, mask=mask_link,
        )  # fmt: skip
        return Link("latent", "positive"), Link("latent", "negative"), Link("latent", "latent"), mask_link
    graph.add("encode", "latent.encode_image", "Encode", vae=vae, image=_PICTURE)
    graph.add("latent", "latent.set_noise_mask", "Noise mask", latent=Link("encode", "latent"), mask=mask_link)
    return positive, negative, Link("latent", "latent"), mask_link


def _add_margins(graph: Graph, margins: Margins, inpainting: bool) -> tuple[Link, Link, Link, Link]:
    """(positive, negative, latent, mask) of a run that extends the picture."""
    vae, image, mask = Link("checkpoint", "vae"), Link("outpaint", "image"), Link("outpaint", "mask")
    graph.add(
        "outpaint", "latent.outpaint", "Outpaint",
        vae=vae, image=_PICTURE, left=margins.left, top=margins.top, right=margins.right, bottom=margins.bottom,
        feather=margins.feather,
    )  # fmt: skip
    positive, negative = Link("prompt", "conditioning"), Link("negative", "conditioning")
    if inpainting:
        graph.add(
            "latent", "condition.inpaint_model", "Inpainting model",
            positive=positive, negative=negative, vae=vae, image=image, mask=mask,
        )  # fmt: skip
        return Link("latent", "positive"), Link("latent", "negative"), Link("latent", "latent"), mask
    return positive, negative, Link("outpaint", "latent"), mask


def _pass_limit(request: ImageRequest, style: StyleText) -> int:
    """How many pictures one pass makes: one where each picture has a start, or choices in its prompt, of its own."""
    texts = (merge_style(request.prompt, style.prompt), merge_style(request.negative, style.negative))
    return BATCH_LIMIT if request.init is None and not any(map(has_choices, texts)) else 1


def _batches(request: ImageRequest, limit: int) -> tuple[tuple[InputValue, ...], tuple[InputValue, ...]]:
    """(first seeds, batch sizes) of the passes that make the request's pictures; item i of all has seed + i."""
    starts = range(0, request.count, limit)
    return (
        tuple((request.seed + start) % (MAX_SEED + 1) for start in starts),
        tuple(min(limit, request.count - start) for start in starts),
    )


def title_of(prompt: str, limit: int = 60) -> str:
    """A prompt as a title: one line, cut at a word."""
    flat = " ".join(prompt.split())
    if len(flat) <= limit:
        return flat
    return flat[:limit].rsplit(" ", 1)[0].rstrip(",;:") + "…"


def _inputs_of(spec: JobSpec) -> tuple[Any, ...]:
    """What decides the pictures of a job: not names, titles, positions or colours."""
    return _nodes_of(spec), dict(spec.bindings)


def _nodes_of(spec: JobSpec) -> tuple[Any, ...]:
    return sorted(
        (n.id, n.type, n.mode, sorted(n.inputs.items())) for n in spec.workflow.nodes
    ), spec.workflow.subgraphs
