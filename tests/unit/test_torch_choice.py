"""Which build of PyTorch a machine gets, from what its drivers say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from installers.environment import ROOT
from installers.torch_choice import Card, NoBuild, TorchChoice, choose, find_card, read_table

INDEX = {"TESSERA_TORCH_INDEX": "file:///wheels/"}


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    return read_table(ROOT)


def nvidia(driver: int, compute: float = 8.9) -> Card:
    return Card("nvidia", "NVIDIA GeForce RTX 4090", driver, compute)


@pytest.mark.parametrize(
    ("card", "tag"),
    [
        (nvidia(595, 12.0), "cu130"),
        (nvidia(580, 7.5), "cu130"),
        (nvidia(580, 6.1), "cu126"),  # a Pascal card: CUDA 13 dropped it, whatever the driver
        (nvidia(579), "cu126"),
        (nvidia(525, 5.2), "cu126"),
        (nvidia(524), "cpu"),
        (nvidia(570, 12.0), "cpu"),  # Blackwell needs CUDA 13, and so a newer driver
        (nvidia(470, 3.7), "cpu"),
        (nvidia(580, 0), "cu130"),  # the card did not say
        (Card("amd"), "rocm7.2"),
        (Card(), "cpu"),
    ],
)
def test_the_build_follows_card_and_driver_on_linux(table: dict[str, Any], card: Card, tag: str) -> None:
    assert choose(card, table, system="linux", machine="x86_64", variables={}).tag == tag


def test_the_plain_index_is_used_where_it_has_the_build(table: dict[str, Any]) -> None:
    choice = choose(nvidia(580), table, system="linux", machine="x86_64", variables=INDEX)
    assert (choice.requirement, choice.arguments, choice.note) == ("torch==2.13.0", (), "")
    apple = choose(Card("apple"), table, system="darwin", machine="arm64", variables=INDEX)
    assert (apple.tag, apple.requirement, apple.arguments) == ("mps", "torch==2.13.0", ())


def test_a_build_the_plain_index_lacks_comes_from_the_address_given(table: dict[str, Any]) -> None:
    choice = choose(nvidia(580), table, system="windows", machine="x86_64", variables=INDEX)
    assert choice.requirement == "torch==2.13.0+cu130"
    assert choice.arguments == ("--extra-index-url", "file:///wheels/cu130")


def test_without_an_address_the_person_is_told_what_to_set(table: dict[str, Any]) -> None:
    choice = choose(nvidia(580), table, system="windows", machine="x86_64", variables={})
    assert (choice.requirement, choice.arguments) == ("torch==2.13.0", ())
    assert "cu130" in choice.note
    assert "TESSERA_TORCH_INDEX" in choice.note
    assert choice.wants_index
    assert choose(Card(), table, system="windows", machine="x86_64", variables={}).note == ""


@pytest.mark.parametrize(
    ("card", "words"),
    [(nvidia(470), "driver 470 is too old"), (nvidia(470, 3.7), "older than PyTorch supports")],
)
def test_a_card_that_goes_unused_is_explained(table: dict[str, Any], card: Card, words: str) -> None:
    assert words in choose(card, table, system="linux", machine="x86_64", variables={}).note


def test_a_blackwell_card_on_an_older_driver_is_told_the_driver_it_needs(table: dict[str, Any]) -> None:
    choice = choose(nvidia(570, 12.0), table, system="linux", machine="x86_64", variables={})
    assert "install driver 580 or later" in choice.note


def test_a_person_can_force_a_build_that_exists(table: dict[str, Any]) -> None:
    def forced(tag: str) -> TorchChoice:
        return choose(nvidia(595), table, system="linux", machine="x86_64", variables={"TESSERA_TORCH": tag})

    assert forced("cpu").tag == "cpu"
    with pytest.raises(NoBuild, match=r"asks for the build “cu99”; for this machine there are: cu130, cu126"):
        forced("cu99")


def test_an_intel_mac_is_told_that_there_is_no_build(table: dict[str, Any]) -> None:
    with pytest.raises(NoBuild, match=r"no build for macOS on x86_64"):
        choose(Card(), table, system="darwin", machine="x86_64", variables={})


def test_the_most_capable_of_several_cards_decides(tmp_path: Path) -> None:
    answer = "NVIDIA GeForce GTX 1080, 581.29, 6.1\nNVIDIA H200, 581.29, 9.0\n"
    assert find_card(system="linux", machine="x86_64", root=tmp_path, ask=lambda: answer) == Card(
        "nvidia", "NVIDIA H200", 581, 9.0
    )


@pytest.mark.parametrize("answer", [None, "", "No devices were found\n", "Failed to initialize NVML\n"])
def test_without_an_answer_from_nvidia_smi_the_kernel_is_asked(tmp_path: Path, answer: str | None) -> None:
    def found() -> Card:
        return find_card(system="linux", machine="x86_64", root=tmp_path, ask=lambda: answer)

    assert found() == Card()
    cpu_node, gpu_node = (tmp_path / f"sys/class/kfd/kfd/topology/nodes/{number}" for number in range(2))
    for node, simd in ((cpu_node, 0), (gpu_node, 304)):
        node.mkdir(parents=True)
        (node / "properties").write_text(f"cpu_cores_count 8\nsimd_count {simd}\nmem_banks_count 1\n")
    assert found() == Card("amd")
    (gpu_node / "properties").unlink()
    assert found() == Card()
    driver = tmp_path / "proc/driver/nvidia/version"
    driver.parent.mkdir(parents=True)
    driver.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\nGCC 13\n")
    assert found() == Card("nvidia", driver=580)


def test_the_table_agrees_with_the_constraints(table: dict[str, Any]) -> None:
    constraints = (ROOT / "installers" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"torch=={table['torch']}" in constraints
