"""The documents: what is written is what is read, whatever it holds, unknown fields included."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contracts.codec import MAX_DEPTH, Document, dump_json, parse_json
from engine.contracts.errors import InvalidDocument, TesseraError, UnknownChoice, clip, suggest
from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec, Sweep
from engine.contracts.node_schema import Effects, InputSchema, NodeSchema, OutputSchema
from engine.contracts.references import BlobRef, ModelRef
from engine.contracts.results import NumericsPlan, ResultRecord
from engine.contracts.workflow import FormField, Group, Link, Node, Socket, Subgraph, Workflow

texts = st.text(max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | numbers | texts
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
hashes = st.just("") | st.text("0123456789abcdef", min_size=64, max_size=64)
links = st.builds(Link, texts, texts)
# Names no document has as a field of its own, so that they stand for fields of a later version.
extras = st.dictionaries(texts.map(lambda t: "x-" + t), json_values, max_size=2)


def document(kind: type[Any], /, **fields: Any) -> st.SearchStrategy[Any]:
    return st.builds(kind, extra=extras, **fields)


blob_refs = document(BlobRef, sha256=hashes, media_type=texts, size=st.integers(0, 2**40), name=texts)
model_refs = document(
    ModelRef, kind=st.sampled_from(["checkpoint", "lora", "vae"]), name=texts, sha256=hashes, url=texts
)
input_values = links | blob_refs | model_refs | json_values
input_maps = st.dictionaries(texts, input_values, max_size=3)
nodes = document(
    Node,
    id=texts,
    type=texts,
    type_version=st.integers(0, 9),
    inputs=input_maps,
    mode=st.sampled_from(["active", "mute", "bypass"]),
    position=st.tuples(numbers, numbers),
    size=st.none() | st.tuples(numbers, numbers),
    collapsed=st.booleans(),
)
node_tuples = st.lists(nodes, max_size=3).map(tuple)
sockets = document(Socket, name=texts, node=texts, socket=texts, label=texts)
groups = document(Group, title=texts, rectangle=st.tuples(numbers, numbers, numbers, numbers), colour=texts)
subgraphs = document(
    Subgraph,
    id=texts,
    nodes=node_tuples,
    groups=st.lists(groups, max_size=1).map(tuple),
    inputs=st.lists(sockets, max_size=2).map(tuple),
    outputs=st.lists(sockets, max_size=2).map(tuple),
)
workflows = document(
    Workflow,
    name=texts,
    nodes=node_tuples,
    groups=st.lists(groups, max_size=2).map(tuple),
    subgraphs=st.lists(subgraphs, max_size=1).map(tuple),
    form=st.lists(document(FormField, node=texts, input=texts, advanced=st.booleans()), max_size=2).map(tuple),
)
sweeps = st.lists(input_values, min_size=1, max_size=3).map(lambda v: Sweep(tuple(v)))
job_specs = document(
    JobSpec,
    workflow=workflows,
    targets=st.lists(texts, max_size=2).map(tuple),
    bindings=st.dictionaries(texts, input_values | sweeps, max_size=2),
    pins=st.dictionaries(texts, texts, max_size=2),
    combine=st.sampled_from(["zip", "product"]),
    allowed_loss=st.sampled_from(["none", "tiles", "precision", "quantised"]),
    memory_budget=st.none() | st.integers(0, 2**40),
    on_failure=st.sampled_from(["stop", "continue"]),
)
events = document(
    JobEvent,
    job=texts,
    sequence=st.integers(0, 2**31),
    time=numbers,
    kind=st.sampled_from(["accepted", "node_progress", "finished"]),
    node=texts,
    data=st.dictionaries(texts, json_values, max_size=3),
)
schemas = document(
    NodeSchema,
    type=texts,
    title=texts,
    category=texts,
    inputs=st.lists(
        document(
            InputSchema,
            name=texts,
            type=texts,
            default=json_values,
            minimum=st.none() | numbers,
            choices=st.lists(texts, max_size=2).map(tuple),
            lazy=st.booleans(),
        ),
        max_size=2,
    ).map(tuple),
    outputs=st.lists(document(OutputSchema, name=texts, type=texts, list=st.booleans()), max_size=2).map(tuple),
    effects=document(Effects, deterministic=st.booleans(), output=st.booleans()),
)
records = document(
    ResultRecord,
    id=texts,
    job=texts,
    node=texts,
    index=st.integers(0, 99),
    artifact=blob_refs,
    spec=job_specs,
    numerics=document(NumericsPlan, device=texts, threads=st.integers(0, 64)),
    versions=st.dictionaries(texts, texts, max_size=2),
    created=numbers,
    parents=st.lists(blob_refs, max_size=2).map(tuple),
    seed=st.none() | st.integers(0, 2**64 - 1),
    facts=st.dictionaries(texts, json_values, max_size=2),
)


@settings(max_examples=60, deadline=None)
@given(st.one_of(blob_refs, model_refs, workflows, job_specs, events, schemas, records))
def test_every_document_survives_the_round_trip_through_text(item: Document) -> None:
    text = dump_json(item.to_json())
    again = type(item).from_json(parse_json(text, "test"))
    assert again == item
    assert again.extra == item.extra
    assert dump_json(again.to_json()) == text


@settings(max_examples=80, deadline=None)
@given(json_values, st.sampled_from([Workflow, JobSpec, JobEvent, NodeSchema, ResultRecord, BlobRef]))
def test_reading_any_json_gives_a_document_or_one_sentence(value: Any, kind: type[Document]) -> None:
    error = _refusal(lambda: kind.from_json(value))
    assert error is None or (error.endswith((".", "…", "?", "!")) and "\n" not in error)


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=60))
def test_parsing_any_bytes_gives_a_value_or_one_sentence(data: bytes) -> None:
    error = _refusal(lambda: parse_json(data, "file.json"))
    assert error is None or error.startswith("file.json")


def _refusal(read: Callable[[], object]) -> str | None:
    try:
        read()
    except InvalidDocument as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": NaN}', "NaN, which is not a number"),
        ('{"a": 1, "a": 2}', "“a” stands twice"),
        ("[" * 5_000_000 + "]" * 5_000_000, "nested more than 200 levels"),
        ('{"a": [1, 2}', "not valid JSON"),
        ("", "not valid JSON"),
        ("1" * 5000, "beyond all bounds"),
    ],
)
def test_bad_json_is_refused_in_one_sentence(text: str, says: str) -> None:
    with pytest.raises(InvalidDocument, match=says):
        parse_json(text, "w.json")


def test_nesting_up_to_the_limit_is_read() -> None:
    depth = MAX_DEPTH
    value = parse_json("[" * depth + "]" * depth, "w")
    for _ in range(depth - 1):
        (value,) = value
    assert value == []


def test_brackets_inside_texts_are_no_nesting() -> None:
    text = json.dumps({"a": "[" * 1000 + '\\"' + "{" * 1000})
    assert parse_json(text, "w") == json.loads(text)


def test_a_wrong_field_is_named_by_its_path() -> None:
    data = {"nodes": [{"id": "a", "type": "x"}, {"id": "b", "type": "x", "position": [1, "two"]}]}
    with pytest.raises(
        InvalidDocument, match=r"Workflow\.nodes\[1\]\.position\[1\]: expected a number, found the text"
    ):
        Workflow.from_json(data)


def test_a_document_of_a_newer_studio_asks_for_an_update() -> None:
    with pytest.raises(InvalidDocument, match="Update Tessera Studio"):
        Workflow.from_json({"format": "tessera.workflow", "version": 99})


def test_another_format_is_told_apart() -> None:
    with pytest.raises(InvalidDocument, match=r"not tessera\.workflow"):
        Workflow.from_json({"format": "tessera.job"})


def test_fields_with_their_default_are_not_written() -> None:
    assert Node(id="a", type="b").to_json() == {"id": "a", "type": "b"}


def test_a_literal_object_is_never_mistaken_for_a_link() -> None:
    node = Node(id="a", type="b", inputs={"x": {"link": ["c", "d"]}, "y": Link("c", "d")})
    again = Node.from_json(node.to_json())
    assert again.inputs == {"x": {"link": ["c", "d"]}, "y": Link("c", "d")}


def test_a_reference_with_a_bad_hash_is_refused() -> None:
    with pytest.raises(InvalidDocument, match="64 lower-case hexadecimal"):
        BlobRef.from_json({"sha256": "../../etc/passwd"})


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InvalidDocument, match="finite"):
        Node.from_json({"id": "a", "type": "b", "position": [0.0, math.inf]})


def test_sentences_end_and_suggest() -> None:
    assert str(TesseraError("it broke", where="a.png", fix="mend it")) == "a.png: it broke. Mend it."
    assert str(UnknownChoice("sampler", "eulr", ["euler", "beta"])) == (
        "There is no sampler “eulr”. Did you mean “euler”?"
    )
    assert suggest("zzz", ["a", "b"]) == "Use one of: a, b"
    assert clip("x" * 500, 21) == "x" * 10 + "…" + "x" * 10
