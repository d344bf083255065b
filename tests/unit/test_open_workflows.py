"""Tabs, files, journals and versions: nothing a person did is lost, and no file is ever half written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.contracts.errors import InvalidDocument, InvalidRequest, StorageError
from engine.contracts.workflow import Link, Node, Socket, Subgraph, Workflow
from engine.graph.registry import Registry
from studio_app.documents import journal as journals
from studio_app.documents.content import Wire
from studio_app.documents.edits import AddNodes, Disconnect, MoveNodes, RemoveNodes, set_input
from studio_app.documents.graph_document import GraphDocument
from studio_app.documents.journal import Journal, JournalWriter, replay
from studio_app.documents.subgraph_edits import AddLibraryNode, MakeSubgraph, UpdateSubgraph
from studio_app.store.blobs import Blobs
from studio_app.workflows.difference import diff
from studio_app.workflows.files import ChangedOutside
from studio_app.workflows.session import View
from studio_app.workflows.workflows import Workflows

SMALL = Workflow(name="Small", nodes=(Node(id="a", type="latent.blend"), Node(id="b", type="latent.empty")))


def studio(folder: Path) -> Workflows:
    found = Workflows(folder, folder / "templates", Blobs(folder / "blobs"), Registry.builtin)
    found.start()
    return found


@pytest.fixture
def workflows(tmp_path: Path) -> Iterator[Workflows]:
    found = studio(tmp_path)
    yield found
    found.close()


def crash(workflows: Workflows) -> None:
    """What a SIGKILL leaves: what was written, and a lock that the system let go."""
    assert workflows.flush()
    os.close(workflows._session._descriptor)
    workflows._session._descriptor = -1
    for tab in workflows.tabs:
        if tab.lock is not None:
            tab.lock.release()
    workflows._writer.close()


# ---- files


def test_a_workflow_is_saved_opened_and_saved_under_another_name(workflows: Workflows, tmp_path: Path) -> None:
    tab = workflows.new(SMALL)
    with pytest.raises(InvalidRequest, match="has no file yet"):
        workflows.save(tab)
    path = workflows.save_as(tab)
    assert path == tmp_path / "workflows" / "Small.tessera.json"
    assert not tab.is_changed
    first = tab.document.workflow.id
    other = workflows.save_as(tab, tmp_path / "other.tessera.json")
    assert tab.document.workflow.id != first
    workflows.close_tab(tab)
    assert workflows.open(path).document.workflow.nodes == SMALL.nodes
    assert workflows.open(path) is workflows.open(path)
    assert workflows.open(other).document.workflow.id != first
    assert [file.name for file in workflows.library.workflows()] == ["Small"]


def test_a_second_studio_gets_a_copy_and_is_told(workflows: Workflows, tmp_path: Path) -> None:
    path = workflows.save_as(workflows.new(SMALL))
    second = studio(tmp_path)
    tab = second.open(path)
    assert tab.path is None
    assert tab.is_changed
    assert (
        tab.notice == "“Small.tessera.json” is open in another window, so this is a copy. Save it under another name."
    )
    with pytest.raises(InvalidRequest, match="is open in another window"):
        second.save_as(tab, path)
    workflows.close_tab(workflows.tabs[0])
    assert second.save_as(tab, path) == path
    second.close()


def test_a_file_changed_by_another_program_is_not_overwritten_unasked(workflows: Workflows) -> None:
    tab = workflows.new(SMALL)
    path = workflows.save_as(tab)
    path.write_text(json.dumps({**SMALL.to_json(), "description": "theirs"}))
    tab.document.edit("Move", MoveNodes({"a": (1.0, 1.0)}))
    with pytest.raises(ChangedOutside, match="was changed by another window or program"):
        workflows.save(tab)
    assert "theirs" in path.read_text()
    workflows.save(tab, overwrite=True)
    assert "theirs" not in path.read_text()


def test_a_full_disk_leaves_the_file_as_it_was(workflows: Workflows, monkeypatch: pytest.MonkeyPatch) -> None:
    tab = workflows.new(SMALL)
    path = workflows.save_as(tab)
    before = path.read_bytes()
    tab.document.edit("Move", MoveNodes({"a": (1.0, 1.0)}))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="is full"):
            workflows.save(tab)
    assert path.read_bytes() == before
    assert tab.is_changed
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"format": "other"}', b'{"nodes": [1]}'])
def test_a_file_that_is_no_workflow_is_refused_in_one_sentence(
    workflows: Workflows, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "x.tessera.json"
    path.write_bytes(content)
    with pytest.raises(InvalidDocument) as caught:
        workflows.open(path)
    assert "\n" not in str(caught.value)
    assert workflows.tabs == []


# ---- sessions


def test_after_a_crash_every_tab_comes_back_with_its_history_level_and_view(tmp_path: Path) -> None:
    first = studio(tmp_path)
    saved = first.new(SMALL)
    path = first.save_as(saved)
    saved.document.edit("Move", MoveNodes({"a": (3.0, 4.0)}))
    loose = first.new(Workflow(name="Loose"))
    loose.document.edit("Add", AddNodes((Node(id="x", type="latent.empty"),)))
    loose.document.edit("Group", MakeSubgraph(("x",), "Part", "part", "p"))
    loose.document.undo()
    view = View(centre=(5.0, 6.0), scale=0.5, level=("p",))
    first.look(loose, view)
    first.show(saved)
    crash(first)
    second = studio(tmp_path)
    assert [tab.title for tab in second.tabs] == ["Small", "Loose"]
    again, other = second.tabs
    assert second.current is again
    assert (again.path, again.notice, again.is_changed) == (path, "", True)
    assert again.document.undo() == "Move"
    assert not again.is_changed
    assert other.view == view
    assert other.document.redo_label == "Group"
    other.document.redo()
    assert other.document.node("p").type == "subgraph:part"
    second.close()
    third = studio(tmp_path)
    assert len(third.tabs) == 2
    assert len(list((tmp_path / "session").iterdir())) == 1
    third.close()


def test_the_tabs_of_a_living_studio_are_left_to_it(workflows: Workflows, tmp_path: Path) -> None:
    workflows.new(SMALL)
    workflows.flush()
    second = studio(tmp_path)
    assert second.tabs == []
    second.close()


def test_a_closed_tab_does_not_come_back(tmp_path: Path) -> None:
    first = studio(tmp_path)
    tab = first.new(SMALL)
    first.new()
    first.close_tab(tab)
    crash(first)
    second = studio(tmp_path)
    assert [t.title for t in second.tabs] == ["Untitled"]
    second.close()


def test_a_tab_whose_list_was_lost_is_found_by_its_journal(tmp_path: Path) -> None:
    first = studio(tmp_path)
    first.new(SMALL)
    folder = first._session.folder
    crash(first)
    (folder / "tabs.json").write_bytes(b"{ torn")
    second = studio(tmp_path)
    assert [t.title for t in second.tabs] == ["Small"]
    second.close()


def test_a_broken_journal_is_set_aside_not_deleted(tmp_path: Path) -> None:
    first = studio(tmp_path)
    tab = first.new(SMALL)
    crash(first)
    tab.journal.path.write_bytes(b"nonsense\n")
    second = studio(tmp_path)
    assert second.tabs == []
    assert len(list((tmp_path / "session").rglob("*.broken-*"))) == 1
    second.close()


# ---- journals


def written(tmp_path: Path) -> tuple[GraphDocument, Journal, JournalWriter]:
    document, writer = GraphDocument(SMALL, Registry.builtin()), JournalWriter(interval=60)
    journal = Journal(tmp_path / "j.jsonl", writer)
    journal.begin(document)
    return document, journal, writer


def test_a_torn_last_line_costs_only_itself(tmp_path: Path) -> None:
    document, journal, writer = written(tmp_path)
    document.edit("One", MoveNodes({"a": (1.0, 0.0)}))
    document.edit("Two", MoveNodes({"a": (2.0, 0.0)}))
    journal.flush()
    data = journal.path.read_bytes()
    journal.path.write_bytes(data[:-9])
    found = replay(journal.path, Registry.builtin())
    assert found.torn
    assert found.document.node("a").position == (1.0, 0.0)
    again = Journal(journal.path, writer)
    again.resume(found)
    found.document.edit("Three", MoveNodes({"a": (3.0, 0.0)}))
    again.flush()
    once_more = replay(journal.path, Registry.builtin())
    assert not once_more.torn
    assert once_more.document.workflow == found.document.workflow
    writer.close()


def test_a_drag_is_one_line_however_many_events_it_has(tmp_path: Path) -> None:
    document, journal, writer = written(tmp_path)
    journal.flush()
    for x in range(100):
        document.edit("Move", MoveNodes({"a": (float(x), 0.0)}), merge="drag")
    journal.flush()
    assert journal.path.read_bytes().count(b"\n") == 2
    document.edit("Move", MoveNodes({"a": (-1.0, 0.0)}), merge="drag")
    journal.flush()
    found = replay(journal.path, Registry.builtin()).document
    found.undo()
    assert found.node("a").position == (0.0, 0.0)
    assert not found.can_undo
    writer.close()


def test_a_long_journal_begins_anew_and_undo_beyond_it_still_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "REBASE_BYTES", 2000)
    document, journal, writer = written(tmp_path)
    for x in range(40):
        document.edit("Move", MoveNodes({"a": (float(x + 1), 0.0)}))
        journal.flush()
    assert journal.path.stat().st_size < 4000
    for _ in range(30):
        document.undo()
        journal.flush()
    assert document.node("a").position == (10.0, 0.0)
    assert replay(journal.path, Registry.builtin()).document.workflow == document.workflow
    document.redo()
    journal.flush()
    assert replay(journal.path, Registry.builtin()).document.workflow == document.workflow
    writer.close()


def test_a_disk_that_is_full_for_a_while_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    document, writer = GraphDocument(SMALL, Registry.builtin()), JournalWriter(said.append, interval=60)
    journal = Journal(tmp_path / "j.jsonl", writer)
    journal.begin(document)
    journal.flush()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    document.edit("One", MoveNodes({"a": (1.0, 0.0)}))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert not writer.flush()
        document.edit("Two", MoveNodes({"b": (2.0, 0.0)}))
        assert not writer.flush()
    assert len(said) == 1
    assert "is full" in said[0]
    assert writer.flush()
    assert replay(journal.path, Registry.builtin()).document.workflow == document.workflow
    writer.close()


# ---- versions and differences


def test_each_saved_state_is_a_version_that_can_be_put_back(workflows: Workflows) -> None:
    tab = workflows.new(SMALL)
    workflows.save_as(tab, note="first")
    tab.document.edit("Remove", RemoveNodes(("b",)))
    workflows.save(tab)
    workflows.save(tab)
    newest, oldest = workflows.versions.list(tab.document.workflow.id)
    assert (oldest.note, oldest.nodes, newest.nodes) == ("first", 2, 1)
    found = diff(workflows.versions.read(oldest), tab.document.workflow)
    assert [n.id for n in found.of().removed] == ["b"]
    workflows.restore_version(tab, oldest)
    assert tab.document.workflow.nodes == SMALL.nodes
    tab.document.undo()
    assert [n.id for n in tab.document.workflow.nodes] == ["a"]


def test_a_difference_names_nodes_inputs_and_wires_that_changed() -> None:
    old = GraphDocument(SMALL, Registry.builtin())
    old.edit("Wires", AddNodes((Node(id="c", type="latent.empty"),), (Wire("b", "latent", "a", "a"),)))
    before = old.workflow
    old.edit("Value", set_input("a", "factor", 0.25))
    old.edit("Move", MoveNodes({"b": (9.0, 9.0)}))
    old.edit("Cut", Disconnect((Wire("b", "latent", "a", "a"),)))
    old.edit("Wire", AddNodes((), (Wire("c", "latent", "a", "a"),)))
    found = diff(before, old.workflow).of()
    changes = {change.node: change for change in found.changed}
    inputs = {change.name: change for change in changes["a"].inputs}
    assert (inputs["factor"].old, inputs["factor"].new) == (None, 0.25)
    assert inputs["a"].is_moved_wire
    assert (inputs["a"].old, inputs["a"].new) == (Link("b", "latent"), Link("c", "latent"))
    assert changes["b"].moved
    assert not diff(before, before)


# ---- the library of nodes


def test_a_subgraph_is_kept_as_a_node_used_elsewhere_and_updated_there(workflows: Workflows) -> None:
    inner = Subgraph(
        id="part", name="Part", nodes=(Node(id="x", type="latent.blend", inputs={"factor": 0.5}),),
        inputs=(Socket(name="a", node="x", socket="a"), Socket(name="b", node="x", socket="b")),
        outputs=(Socket(name="latent", node="x", socket="latent"),),
    )  # fmt: skip
    tab = workflows.new(Workflow(nodes=(Node(id="p", type="subgraph:part"),), subgraphs=(inner,)))
    kept = workflows.library.save_node(tab.document.workflow, "part")
    other = workflows.new(Workflow(nodes=(Node(id="e", type="latent.empty"),)))
    parts = workflows.library.node(kept.id)
    for name in ("q", "r"):
        other.document.edit("Add", AddLibraryNode(parts, Node(id=name, type="")))
    assert len(other.document.workflow.subgraphs) == 1
    other.document.edit("Wire", AddNodes((), (Wire("e", "latent", "q", "a"), Wire("e", "latent", "q", "b"))))
    newer = Subgraph.from_json({**parts[0].to_json(), "inputs": [parts[0].inputs[1].to_json()]})
    other.document.edit("Update", UpdateSubgraph((newer,)))
    assert [i.name for i in other.document.schema("r").inputs] == ["b"]
    assert set(other.document.node("q").inputs) == {"b"}
    assert [node.name for node in workflows.library.nodes()] == ["Part"]
    workflows.library.remove_node(kept.id)
    assert workflows.library.nodes() == []
