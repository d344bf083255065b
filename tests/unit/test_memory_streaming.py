"""Blocks streamed one after the other: what is copied, kept and given back."""

from __future__ import annotations

import copy

import pytest
import torch

from engine.contracts.errors import Cancelled
from engine.graph.interruption import attending
from engine.memory.device import Card
from engine.memory.slots import slots_of
from engine.memory.streaming import BlockStream
from tests.memory_room import SimulatedCard


class Stack(torch.nn.Module):
    """Layers that are run in another order than they are listed in, the last of them twice."""

    def __init__(self, order: tuple[int, ...] = (1, 0, 2, 2)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU()) for _ in "abc"])
        self.order = order
        self.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for place in self.order:
            x = self.blocks[place](x)
        return x


def streamed(net: Stack, card: Card, *, from_disk: bool = False, kept: int = 0, bits: int = 16) -> BlockStream:
    blocks = list(net.blocks)
    return BlockStream(card, blocks, [slots_of(block, bits) for block in blocks], bits, from_disk=from_disk, kept=kept)


X = torch.linspace(-1, 1, 16).reshape(2, 8)
ONE = 256 + 256  # a block's matrix and its bias, each on a place of its own


@pytest.mark.parametrize(("from_disk", "kept"), [(False, 0), (True, 0), (True, 2)])
def test_each_block_is_copied_once_a_pass(from_disk: bool, kept: int) -> None:
    net = Stack()
    expected = net(X)
    stream = streamed(net, Card("cpu", 1 << 30), from_disk=from_disk, kept=kept)
    torch.testing.assert_close(net(X), expected, rtol=0, atol=0)
    net(X)  # the order is known now
    before = stream.copied
    for _ in range(3):
        torch.testing.assert_close(net(X), expected, rtol=0, atol=0)
    assert stream.copied - before == 3 * 3 * ONE
    assert stream.bytes == 2 * ONE  # two buffers
    assert stream.host_bytes == (kept if from_disk else 3) * ONE


def test_without_room_in_main_memory_blocks_are_gathered_each_time() -> None:
    net, card = Stack((0, 1, 2)), SimulatedCard()
    told: list[str] = []
    expected = net(X)
    blocks = list(net.blocks)
    stream = BlockStream(card, blocks, [slots_of(block) for block in blocks], tell=told.append)
    card.again(beside=(1,))  # the second block's buffer
    with card.watching():
        torch.testing.assert_close(net(X), expected, rtol=0, atol=0)
        torch.testing.assert_close(net(X), expected, rtol=0, atol=0)
    assert stream.host_bytes == 0
    assert told == ["Main memory ran out; the blocks of the model are gathered anew each time they are needed."]


def test_nothing_of_it_stays_when_it_is_removed() -> None:
    net, card = Stack(), SimulatedCard()
    masters = {name: id(tensor) for name, tensor in net.named_parameters()}
    with card.watching():
        stream = streamed(net, card)
        answer = net(X)
        assert card.now >= 2 * ONE
        stream.remove()
        del answer
    assert card.settled() == 0
    assert {name: id(tensor) for name, tensor in net.named_parameters()} == masters
    assert not any("forward" in vars(block) for block in net.blocks)


def test_a_changed_master_is_brought_alone() -> None:
    """As an adapter's merged weight is: put in for a call, and taken out."""
    net = Stack((0, 1, 2))
    streamed(net, Card("cpu", 1 << 30))
    plain = net(X)
    merged = {"blocks.1.0.weight": net.get_parameter("blocks.1.0.weight") * 2}
    expected = torch.func.functional_call(Stack((0, 1, 2)), merged, (X,))
    torch.testing.assert_close(torch.func.functional_call(net, merged, (X,)), expected, rtol=0, atol=0)
    torch.testing.assert_close(net(X), plain, rtol=0, atol=0)


def test_a_cancelled_job_stops_between_blocks() -> None:
    net = Stack((0, 1, 2))
    streamed(net, Card("cpu", 1 << 30))
    done: list[int] = []
    master = net.get_parameter("blocks.1.0.weight")

    def check() -> None:
        if len(done) == 1:
            raise Cancelled

    net.blocks[0].register_forward_hook(lambda *_: done.append(0))
    net.blocks[1].register_forward_hook(lambda *_: done.append(1))
    with attending(check), pytest.raises(Cancelled):
        net(X)
    assert done == [0]
    assert net.get_parameter("blocks.1.0.weight") is master


def test_a_copied_network_runs_by_itself() -> None:
    net = Stack()
    stream = streamed(net, Card("cpu", 1 << 30))
    expected = net(X)
    twin = copy.deepcopy(net)
    stream.remove()
    for parameter in net.parameters():
        parameter.zero_()
    torch.testing.assert_close(twin(X), expected)


def test_eight_bits_are_brought_and_made_whole() -> None:
    net = Stack()
    expected = net(X)
    stream = streamed(net, Card("cpu", 1 << 30), bits=8)
    answer = net(X)
    assert 0 < float((answer - expected).abs().max()) < 0.02
    assert stream.bytes < 2 * ONE * 2
    assert not torch.equal(answer, expected)


def test_a_tensor_of_another_form_is_brought_by_itself() -> None:
    """A table with more rows (embeddings of a prompt) has no place in the block's buffer."""

    class Table(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Embedding(4, 8), torch.nn.Linear(8, 8)])
            self.requires_grad_(False)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.layers[1](self.layers[0](ids))
            return found

    net = Table()
    longer = {"layers.0.weight": torch.cat([net.get_parameter("layers.0.weight"), torch.ones(2, 8)])}
    ids = torch.tensor([0, 5])
    expected = torch.func.functional_call(net, longer, (ids,))
    layers = list(net.layers)
    BlockStream(Card("cpu", 1 << 30), layers, [slots_of(layer) for layer in layers])
    torch.testing.assert_close(torch.func.functional_call(net, longer, (ids,)), expected, rtol=0, atol=0)
    assert net(torch.tensor([3])).shape == (1, 8)


@pytest.mark.parametrize("piece", [256, 1000, 1 << 20])
def test_what_crosses_by_locked_buffers_arrives_as_it_was(piece: int) -> None:
    card = Card("cpu")
    drawn = torch.randn(5, 7, 6, 4, generator=torch.Generator().manual_seed(0))
    odd = torch.arange(999, dtype=torch.uint8)
    for tensor in (
        drawn, drawn.to(torch.bfloat16), drawn.to(memory_format=torch.channels_last), drawn[1:3], drawn.transpose(0, 2),
        odd, odd.bool(), drawn.to(torch.float8_e4m3fn), torch.tensor(3.0), torch.empty(0),
    ):  # fmt: skip
        arrived = card.staged(tensor, piece)
        assert arrived.dtype == tensor.dtype
        assert arrived.stride() == torch.empty_like(tensor).stride()
        assert torch.equal(arrived.float(), tensor.float())
        assert arrived.data_ptr() != tensor.data_ptr() or not tensor.numel()
