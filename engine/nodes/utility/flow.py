"""Choosing, repeating and waiting: a switch that computes only what it chooses, loops over subgraphs, lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from engine.contracts.errors import InvalidRequest
from engine.contracts.workflow import Link, Node, Workflow
from engine.graph.flow import Block, Expand, own
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Anything

LazyValue = Annotated[Any, In(lazy=True, type="*", link_only=True)]
MAX_TURNS = 1000


def _chosen(**given: Any) -> Sequence[str]:
    return ["if_yes" if given["condition"] else "if_no"]


@node(
    "utility.switch",
    category="Utility",
    title="Switch",
    outputs=("value",),
    needs=_chosen,
    search=("if", "else", "choose", "branch"),
)
def switch(ctx: NodeContext, condition: bool, if_yes: LazyValue = None, if_no: LazyValue = None) -> Anything:
    """Pass on one of two values; the other is never computed.

    condition: which of the two
    if_yes: passed on when the condition holds
    if_no: passed on when it does not
    """
    return if_yes if condition else if_no


@node("utility.gate", category="Utility", title="Gate", outputs=("value",), search=("block", "stop", "filter"))
def gate(ctx: NodeContext, value: Anything, is_open: bool = True) -> Anything:
    """Pass a value on, or hold back everything that follows.

    value: what passes
    is_open: whether it passes
    """
    return value if is_open else Block("the gate is closed")


@node(
    "utility.reroute", category="Utility", title="Reroute", outputs=("value",), passes="value", search=("relay", "dot")
)
def reroute(ctx: NodeContext, value: Anything) -> Anything:
    """Pass a value on unchanged, to lay wires tidily.

    value: what passes
    """
    return value


@node("utility.list", category="Utility", title="Make list", outputs=("items",), list_outputs=("items",))
def make_list(ctx: NodeContext, item: Annotated[Any, In(variadic=True, type="*", link_only=True)]) -> list[Any]:
    """Put values into a list; the nodes that follow run once for each.

    item: the values, in order
    """
    return list(item)


@node("utility.range", category="Utility", title="Number range", outputs=("items",), list_outputs=("items",))
def number_range(
    ctx: NodeContext,
    count: Annotated[int, In(minimum=0, maximum=MAX_TURNS)] = 4,
    start: float = 0.0,
    step: float = 1.0,
) -> list[float]:
    """A list of evenly spaced numbers; the nodes that follow run once for each.

    count: how many
    start: the first number
    step: from one to the next
    """
    return [start + index * step for index in range(count)]


@node("utility.list_length", category="Utility", title="Length of list", outputs=("length",))
def list_length(ctx: NodeContext, items: Annotated[Any, In(list=True, type="*", link_only=True)]) -> int:
    """How many elements a list has.

    items: the list
    """
    return len(items)


@node("utility.pick", category="Utility", title="Pick from list", outputs=("item",), search=("index", "select"))
def pick(
    ctx: NodeContext,
    items: Annotated[Any, In(list=True, type="*", link_only=True)],
    index: Annotated[int, In(minimum=-MAX_TURNS, maximum=MAX_TURNS)] = 0,
) -> Anything:
    """One element of a list.

    items: the list
    index: counted from 0; −1 is the last
    """
    if not -len(items) <= index < len(items):
        raise InvalidRequest(f"there is no element {index} in a list of {len(items)}", fix="Choose an index it has")
    return items[index]


@node("utility.repeat", category="Utility", title="Repeat", outputs=("value",), search=("for", "loop", "times"))
def repeat(
    ctx: NodeContext,
    value: Anything,
    subgraph: str,
    times: Annotated[int, In(minimum=0, maximum=MAX_TURNS)] = 2,
    input_name: str = "value",
    output_name: str = "value",
) -> Anything:
    """Send a value through a subgraph again and again; each turn takes what the last one gave.

    value: what goes into the first turn
    subgraph: the id of the subgraph
    times: how many turns
    input_name: the subgraph's input that takes the value
    output_name: the subgraph's output that gives it on
    """
    turns: list[Node] = []
    last = own("value")
    for turn in range(times):
        turns.append(Node(id=str(turn), type=f"subgraph:{subgraph}", inputs={input_name: last}))
        last = Link(str(turn), output_name)
    return Expand(Workflow(nodes=tuple(turns)), {"value": last})
