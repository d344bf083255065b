"""Networks made without memory on one thread leave those of every other thread as they are."""

from __future__ import annotations

import threading

import torch

from engine.models.assemble import skeleton
from engine.models.empty import without_memory

CLIP = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 20,
        "max_position_embeddings": 8}  # fmt: skip


def test_parameters_have_no_memory_and_buffers_do() -> None:
    network = skeleton("CLIPTextModel", CLIP)
    assert all(parameter.is_meta for parameter in network.parameters())
    assert not any(buffer.is_meta for buffer in network.buffers())


def test_other_threads_and_later_networks_are_drawn_as_ever() -> None:
    """Two threads inside at once, the first to enter the first to leave: the order that broke what was shared."""
    entered, first_left = threading.Barrier(2), threading.Event()
    meanwhile: list[torch.nn.Linear] = []

    def first() -> None:
        with without_memory():
            entered.wait()
        first_left.set()

    def second() -> None:
        with without_memory():
            entered.wait()
            first_left.wait()

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    first_left.wait()
    torch.manual_seed(0)
    meanwhile.append(torch.nn.Linear(64, 64))
    for thread in threads:
        thread.join()
    torch.manual_seed(0)
    after = torch.nn.Linear(64, 64)
    for network in (*meanwhile, after):
        assert not network.weight.is_meta
        assert 0.01 < float(network.weight.detach().std()) < 0.2  # Kaiming's for 64 inputs is 0.072
    assert torch.equal(meanwhile[0].weight, after.weight)


def test_inside_an_exception_leaves_the_thread_as_it_was() -> None:
    try:
        with without_memory():
            raise KeyError
    except KeyError:
        pass
    assert not torch.nn.Linear(2, 2).weight.is_meta
