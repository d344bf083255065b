"""A person's own nodes: nothing runs without consent, nothing broken hurts the rest, an edit is taken up at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from engine.contracts.errors import BadPlugin, InvalidRequest, InvalidWorkflow, UnknownChoice
from engine.contracts.job_spec import JobSpec
from engine.contracts.workflow import Workflow
from engine.graph import plugin_probe, plugins
from engine.graph.cache import ValueCache
from engine.graph.execute import JobResult, execute
from engine.graph.plugin_import import load
from engine.graph.plugin_probe import probe
from engine.graph.plugins import read_plugin
from engine.graph.registry import Registry
from engine.graph.signatures import signatures
from engine.graph.validate import problems
from engine.media.images import probe as probe_picture
from studio_app.cli.main import main
from studio_app.plugins.consent import Consent
from tests.unit.graph_nodes import services
from tests.unit.plugin_room import HEAD, Room, adder, only, using


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    path = list(sys.meta_path)
    yield Room(tmp_path / "data")
    sys.meta_path[:] = path


def run(registry: Registry, workflow: Workflow, **options: Any) -> JobResult:
    spec = JobSpec(workflow=workflow, targets=("n",))
    return execute(spec, registry=registry, services=services(), cache=ValueCache(1 << 20), **options)


def refused(room: Room, text: str, name: str = "broken.py") -> str:
    """Why a plugin with this text can't be used; the rest of the studio goes on."""
    room.write(name, text)
    found = room.plugins()
    entry = found.enable(Path(name).stem)
    assert entry.state == "broken"
    assert found.registry().types.keys() == Registry.builtin().types.keys()
    (complaint,) = entry.complaints
    assert found.complaints == [complaint]
    return complaint


# --- consent


def test_nothing_of_a_plugin_runs_before_it_is_enabled(room: Room, tmp_path: Path) -> None:
    mark = tmp_path / "it_ran"
    room.write("eager.py", adder(head=f"open({str(mark)!r}, 'w').close()\n"))
    found = room.plugins()
    entry = only(found)
    assert (entry.name, entry.state, entry.types) == ("eager", "off", ("mine.add",))
    assert found.registry().find("mine.add") is None
    assert not mark.exists()
    assert found.enable("eager").state == "enabled"
    assert mark.exists()


def test_an_enabled_plugin_shows_its_origin_and_stays_on_this_machine(room: Room) -> None:
    room.write("sums.py", adder())
    room.plugins().enable("sums")
    registry = room.plugins().registry()  # as the next start of the studio sees it
    schema = registry.get("mine.add").schema
    assert (schema.origin, schema.origin_detail, schema.effects.local_only) == ("folder", "sums.py", True)
    assert (schema.doc, schema.inputs[0].tooltip) == ("Add a number.", "to add to")
    assert run(registry, using("mine.add", value=4)).outputs["n"] == {"sum": 5}


def test_changed_code_asks_again(room: Room) -> None:
    room.write("sums.py", adder())
    found = room.plugins()
    found.enable("sums")
    room.write("sums.py", adder(plus=100))
    assert only(found).state == "changed"
    assert found.registry().find("mine.add") is None
    found.enable("sums")
    assert run(found.registry(), using("mine.add", value=1)).outputs["n"] == {"sum": 101}
    room.write("sums.py", adder())  # the code of before is another code than the one agreed to
    assert only(found).state == "changed"


def test_what_is_disabled_is_off_at_once(room: Room) -> None:
    room.write("sums.py", adder())
    found = room.plugins()
    found.enable("sums")
    assert found.disable("sums").state == "off"
    assert found.registry().find("mine.add") is None
    assert only(room.plugins()).state == "off"


def test_consent_is_for_one_place_only(room: Room, tmp_path: Path) -> None:
    room.write("sums.py", adder())
    room.plugins().enable("sums")
    other = Room(tmp_path / "elsewhere")
    other.write("sums.py", adder())
    (room.data / "plugins.json").rename(other.data / "plugins.json")
    assert only(other.plugins()).state == "off"


def test_two_of_a_name_are_told_apart_by_their_paths(room: Room, tmp_path: Path) -> None:
    room.write("sums.py", adder())
    more = tmp_path / "more"
    more.mkdir()
    (more / "sums.py").write_text(adder("mine.other"))
    (room.data / "settings.json").write_text(
        json.dumps({"format": "tessera.settings", "version": 1, "values": {"nodes.folders": [str(more)]}})
    )
    found = room.plugins()
    with pytest.raises(InvalidRequest, match="Two plugins are called “sums”"):
        found.enable("sums")
    assert found.enable(str(more / "sums.py")).types == ("mine.other",)
    with pytest.raises(UnknownChoice, match="Did you mean “sums”"):
        found.enable("sum")


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "tessera.plugins", "enabled": {"x": 3}}', "\x00"])
def test_a_damaged_consent_file_is_no_consent(room: Room, text: str) -> None:
    room.write("sums.py", adder())
    room.plugins().enable("sums")
    (room.data / "plugins.json").write_text(text)
    found = room.plugins()
    assert only(found).state == "off"
    (complaint,) = found.complaints
    assert "stay off until you enable them again" in complaint
    assert len(list(room.data.glob("plugins.json.broken-*"))) == 1


def test_consent_that_cant_be_written_is_not_given(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    consent = Consent(tmp_path / "file" / "plugins.json")
    with pytest.raises(Exception, match="not a folder"):
        consent.agree("x", plugins_agreement())
    assert consent.of("x") is None


def plugins_agreement() -> Any:
    from studio_app.plugins.consent import Agreement

    return Agreement("0" * 64)


# --- what is broken


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = (\n", "broken.py, line 1: it is no Python ('(' was never closed)."),
        ("import math\n1 / 0\n", "broken.py, line 2: it can't be imported (ZeroDivisionError: division by zero)."),
        ("import sys\n\nsys.exit(0)\n", "broken.py, line 3: it tries to end the program while it is imported. "
         "Take the exit out."),
        ("import os\nos._exit(7)\n", "broken.py: it ends the program while it is imported (exit code 7)."),
        ("import no_such\n", "broken.py, line 1: it can't be imported (ModuleNotFoundError: No module named "
         "'no_such'). Install “no_such” into the studio's environment."),
        ("x = 1\n", "broken.py: it defines no nodes. Decorate a function with @node."),
        (adder("image.invert"), "broken.py, line 4: its node “image.invert” is one of the studio's own. Rename it."),
        (adder("Warmth"), "broken.py, line 4: “Warmth” can't be the name of a node. Use small letters, digits and _ "
         "with a dot in between, such as mine.warmth."),
        (adder("subgraph:x"), "broken.py, line 4: “subgraph:x” can't be the name of a node. Use small letters, "
         "digits and _ with a dot in between, such as mine.warmth."),
        (adder().replace("value: int = 0", 'value: int = "a"'), "broken.py, line 4: its node “mine.add” is wrong: "
         "mine.add: the default of “value”: expected a whole number, found the text “a”."),
        (adder().replace("value: int = 0", "value"), "broken.py, line 4: it can't be imported (TypeError: the input "
         "“value” of add has no type; write what it takes)."),
        (adder().replace("ctx: NodeContext, value: int = 0", ""), "broken.py, line 4: it can't be imported (TypeError: "
         "the first parameter of add must be its context: ctx: NodeContext)."),
        (adder().replace("value: int = 0", "*value: int"), "broken.py, line 4: it can't be imported (TypeError: "
         "“*value: int” of add can't be an input; name each input)."),
        (adder() + adder().replace("def add", "def more"), "broken.py, line 14: two of its nodes are called "
         "“mine.add”. Rename one."),
        ("from engine.nodes.image.invert import invert\n", "broken.py: it defines no nodes. Decorate a function with "
         "@node."),
    ],
)  # fmt: skip
def test_a_broken_plugin_is_one_sentence_with_file_and_line(room: Room, text: str, sentence: str) -> None:
    assert refused(room, text) == sentence


def test_one_that_hangs_is_ended_and_its_line_named(room: Room) -> None:
    path = room.write("broken.py", "import time\n\n\ndef wait():\n    time.sleep(600)\n\n\nwait()\n")
    with pytest.raises(BadPlugin) as caught:
        probe(read_plugin(path), seconds=1.0)
    assert str(caught.value) == ("broken.py, line 5: it was not imported within 1 seconds. Look for what it waits for.")


def test_one_that_crashes_the_interpreter_is_named(room: Room) -> None:
    sentence = refused(room, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    assert sentence == "broken.py, line 2: it ends the program while it is imported (SIGSEGV)."


def test_threads_that_a_plugin_leaves_behind_do_not_keep_the_child(room: Room) -> None:
    text = adder(head="import threading\nthreading.Thread(target=threading.Event().wait).start()\n")
    found = probe(read_plugin(room.write("busy.py", text)))
    assert [s.type for s in found.schemas] == ["mine.add"]


def test_printing_stays_out_of_our_output(room: Room, capfd: pytest.CaptureFixture[str]) -> None:
    room.write("loud.py", adder(head="print('hello', 1)\n"))
    found = room.plugins()
    entry = found.enable("loud")
    assert (entry.state, entry.complaints) == (
        "enabled",
        ("loud.py, line 3: it prints “hello” while it is imported; print in a node with ctx.log.",),
    )
    assert capfd.readouterr() == ("", "")


def test_one_broken_plugin_leaves_the_others_working(room: Room) -> None:
    room.write("a_broken.py", "1 / 0\n")
    room.write("sums.py", adder())
    room.write("z_broken.py", "import sys; sys.exit()\n")
    found = room.plugins()
    for name in ("a_broken", "sums", "z_broken"):
        found.enable(name)
    assert [e.state for e in found.entries()] == ["broken", "enabled", "broken"]
    assert run(found.registry(), using("mine.add", value=1)).outputs["n"] == {"sum": 2}


def test_the_first_plugin_keeps_a_name_that_two_want(room: Room) -> None:
    room.write("a.py", adder(plus=1))
    room.write("b.py", adder(plus=2))
    found = room.plugins()
    found.enable("a")
    entry = found.enable("b")
    assert (entry.state, entry.complaints) == (
        "broken", ("b.py, line 4: its node “mine.add” is in a.py too. Rename it.",)
    )  # fmt: skip
    assert run(found.registry(), using("mine.add", value=0)).outputs["n"] == {"sum": 1}


def test_a_node_that_tries_to_end_the_program_fails_alone(room: Room) -> None:
    room.write("quits.py", adder().replace("return value", "raise SystemExit(3)\n    return value"))
    found = room.plugins()
    found.enable("quits")
    result = run(found.registry(), using("mine.add"))
    assert result.outcome == "failed"
    assert result.failures[0].cause == "it tried to end the program"


def test_an_async_node_that_tries_to_end_the_program_fails_alone(room: Room) -> None:
    text = adder().replace("def add", "async def add").replace("return value", "raise SystemExit(3)\n    return value")
    room.write("quits.py", text)
    found = room.plugins()
    found.enable("quits")
    assert run(found.registry(), using("mine.add")).failures[0].cause == "it tried to end the program"


# --- packages, helpers


def test_a_folder_with_helper_modules_is_one_plugin(room: Room) -> None:
    room.write("kit/__init__.py", "from .sums import add\n")
    room.write("kit/sums.py", adder(head="from . import amounts\n").replace("value + 1", "value + amounts.PLUS"))
    room.write("kit/amounts.py", "PLUS = 7\n")
    room.write("_shared.py", "1 / 0\n")
    room.write("test_kit.py", "1 / 0\n")
    found = room.plugins()
    assert found.enable("kit").types == ("mine.add",)
    assert len(found.entries()) == 1
    registry = found.registry()
    assert registry.get("mine.add").schema.origin_detail == "kit/"
    assert run(registry, using("mine.add", value=1)).outputs["n"] == {"sum": 8}


def test_changing_a_helper_module_changes_the_signature_and_the_result(room: Room) -> None:
    room.write("kit/__init__.py", "from .sums import add\n")
    room.write("kit/sums.py", adder(head="from . import amounts\n").replace("value + 1", "value + amounts.PLUS"))
    room.write("kit/amounts.py", "PLUS = 7\n")
    found = room.plugins()
    found.enable("kit", development=True)
    before = found.registry()
    signed = signatures(using("mine.add", value=1), before)
    room.write("kit/amounts.py", "PLUS = 8\n")
    after = found.registry()
    assert signatures(using("mine.add", value=1), after) != signed
    assert run(after, using("mine.add", value=1)).outputs["n"] == {"sum": 9}
    assert run(before, using("mine.add", value=1)).outputs["n"] == {"sum": 8}  # the older snapshot is as it was
    assert signatures(using("mine.add", value=1), before) == signed


def test_the_same_code_has_the_same_signature_wherever_it_lies(room: Room, tmp_path: Path) -> None:
    other = Room(tmp_path / "elsewhere")
    signed = []
    for place in (room, other):
        place.write("sums.py", adder())
        found = place.plugins()
        found.enable("sums")
        signed.append(signatures(using("mine.add", value=1), found.registry()))
    assert signed[0] == signed[1]


def test_an_installed_package_is_a_plugin_too(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    (site / "nice_nodes").mkdir(parents=True)
    (site / "nice_nodes" / "__init__.py").write_text("")
    (site / "nice_nodes" / "nodes.py").write_text(adder("nice.add", plus=3))
    info = site / "nice_nodes-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nice-nodes\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[tessera.nodes]\nnice = nice_nodes.nodes\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setattr(plugin_probe, "_ROOT", f"{plugin_probe._ROOT}:{site}")
    found = room.plugins()
    entry = only(found)
    assert (entry.name, entry.origin, entry.place, entry.state) == ("nice", "package", "nice-nodes 1.2", "off")
    assert "nice_nodes" not in sys.modules
    assert found.enable("nice").state == "enabled"
    schema = found.registry().get("nice.add").schema
    assert (schema.origin, schema.origin_detail) == ("package", "nice-nodes 1.2")
    assert run(found.registry(), using("nice.add", value=1)).outputs["n"] == {"sum": 4}
    for name in ("nice_nodes", "nice_nodes.nodes"):
        sys.modules.pop(name)


def test_a_package_that_is_gone_is_named(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = metadata.EntryPoint("ghost", "no_such_package_here.nodes", plugins.GROUP)
    monkeypatch.setattr(plugins, "installed_plugins", lambda: [entry])
    shown = only(room.plugins())
    assert (shown.name, shown.state) == ("ghost", "broken")
    assert shown.complaints == ("ghost: its package has no module “no_such_package_here”. Install it again.",)


# --- hot reload


def test_an_edit_in_development_is_taken_up_and_running_jobs_keep_theirs(room: Room) -> None:
    room.write("sums.py", adder())
    found = room.plugins()
    heard: list[Registry] = []
    found.enable("sums", development=True)
    before = found.registry()
    assert found.registry() is before  # nothing changed, no new snapshot
    found.changed.subscribe(heard.append)
    room.write("sums.py", adder(plus=10))
    after = found.registry()
    assert heard == [after]
    assert run(before, using("mine.add", value=1)).outputs["n"] == {"sum": 2}
    assert run(after, using("mine.add", value=1)).outputs["n"] == {"sum": 11}
    assert signatures(using("mine.add"), before) != signatures(using("mine.add"), after)


def test_while_an_edit_is_broken_the_version_before_works_on(room: Room) -> None:
    room.write("sums.py", adder())
    found = room.plugins()
    found.enable("sums", development=True)
    found.registry()
    room.write("sums.py", adder() + "\n1 / 0\n")
    entry = only(found)
    assert (entry.state, entry.types) == ("broken", ("mine.add",))
    assert entry.complaints == (
        "sums.py, line 12: it can't be imported (ZeroDivisionError: division by zero).",
        "sums.py: the version before is used until that is mended.",
    )
    assert run(found.registry(), using("mine.add", value=1)).outputs["n"] == {"sum": 2}
    room.write("sums.py", adder(plus=5))
    assert run(found.registry(), using("mine.add", value=1)).outputs["n"] == {"sum": 6}
    assert found.complaints == []


def test_a_plugin_that_goes_away_takes_its_nodes_along(room: Room) -> None:
    path = room.write("sums.py", adder())
    found = room.plugins()
    found.enable("sums")
    assert found.registry().find("mine.add") is not None
    path.unlink()
    assert found.registry().find("mine.add") is None
    assert found.entries() == ()


def test_starting_again_needs_no_child_for_code_that_was_tried(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.write("sums.py", adder())
    room.plugins().enable("sums")

    def no_child(*args: Any) -> Any:
        raise AssertionError("a child was started")

    monkeypatch.setattr(plugin_probe, "probe", no_child)
    assert room.plugins().registry().find("mine.add") is not None


def test_what_is_imported_is_what_was_agreed_to(room: Room) -> None:
    """The file is changed between reading and importing: the bytes that were hashed run, not those on disk."""
    path = room.write("sums.py", adder())
    plugin = read_plugin(path)
    room.write("sums.py", adder(plus=1000))
    loaded = load(plugin)
    assert loaded.definitions[0].run(None, value=1) == 2


# --- documents bring no code


EVIL = {
    "format": "tessera.workflow", "version": 1,
    "nodes": [{
        "id": "n", "type": "mine.add", "inputs": {"value": 1},
        "code": "open('it_ran', 'w').close()", "python": "__import__('os').system('touch it_ran')",
    }],
    "plugins": ["sums.py"], "nodes_folder": ".", "entry_points": {"tessera.nodes": "sums"},
}  # fmt: skip


def test_no_code_comes_in_with_a_workflow(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what a document holds nor what lies beside it, nor what waits in the nodes folder, is run."""
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "it_ran"
    for place in (tmp_path, tmp_path / "nodes", room.nodes):
        place.mkdir(exist_ok=True)
        (place / "sums.py").write_text(adder(head=f"open({str(mark)!r}, 'w').close()\n"))
    workflow = Workflow.from_json(EVIL)
    found = room.plugins()
    found.registry()
    loaded = set(sys.modules)
    registry = found.registry()
    (problem,) = problems(workflow, registry, ("n",))
    assert (problem.code, problem.node) == ("unknown_node", "n")
    with pytest.raises(InvalidWorkflow):
        run(registry, workflow)
    assert signatures(workflow, registry) == {}
    assert not mark.exists()
    assert set(sys.modules) - loaded == set()


def test_a_node_that_is_not_here_keeps_all_its_data_until_it_is(room: Room) -> None:
    workflow = Workflow.from_json(EVIL)
    again = Workflow.from_json(json.loads(json.dumps(workflow.to_json())))
    assert again.to_json() == EVIL
    room.write("sums.py", adder())
    found = room.plugins()
    found.enable("sums")
    assert run(found.registry(), again).outputs["n"] == {"sum": 2}


def test_a_reader_refuses_what_is_no_plugin(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text(HEAD)
    for name, what in (("empty", "has no __init__.py"), ("notes.txt", "written in a .py file"), ("x.py", "no such")):
        with pytest.raises(BadPlugin, match=what):
            read_plugin(tmp_path / name)


# --- the command line


def test_the_commands_tell_try_and_let_run(
    room: Room, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TESSERA_DATA", str(room.data))
    path = room.write("sums.py", adder())

    def said(*words: str, code: int = 0) -> str:
        capfd.readouterr()
        assert main(list(words)) == code
        out, err = capfd.readouterr()
        return out if code == 0 else err

    off = "sums: off; “nodes enable sums” lets it run  (mine.add)\n"
    assert said("nodes", "--folders") == f"{room.nodes}\n  {off}"
    assert said("nodes", "check", str(path)) == f"{path}: fine, 1 node: mine.add\n"
    assert said("nodes", "enable", "sums") == "sums: enabled  (mine.add)\n"
    shown = json.loads(said("nodes", "--json", "mine.add"))
    assert [(s["type"], s["origin"], s["origin_detail"]) for s in shown] == [("mine.add", "folder", "sums.py")]
    assert said("nodes", "disable", "sums") == off
    assert said("nodes", "enable", "gone", code=2) == "There is no plugin “gone”. Use one of: sums.\n"
    assert said("nodes", "check", "gone.py", code=2) == f"{tmp_path / 'gone.py'}: there is no such file.\n"
    assert said("nodes", "enable", code=2).startswith("“nodes enable” takes one name.")
    assert "--dev goes with enable" in said("nodes", "--dev", code=2)


def test_run_takes_a_folder_on_trial_for_this_once(
    room: Room, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "sums.py").write_text(adder(plus=20))
    nodes = [
        {"id": "n", "type": "mine.add", "inputs": {"value": 12}},
        {"id": "p", "type": "image.solid", "inputs": {"width": {"link": ["n", "sum"]}, "height": 8}},
        {"id": "s", "type": "image.save", "inputs": {"image": {"link": ["p", "image"]}, "name_pattern": "wide"}},
    ]  # fmt: skip
    (tmp_path / "w.json").write_text(json.dumps({"format": "tessera.workflow", "version": 1, "nodes": nodes}))
    words = ["run", "w.json", "-o", "out", "--no-library", "--data-dir", str(room.data)]
    assert main(words) == 2
    assert "there is no node type “mine.add”" in capfd.readouterr().err
    assert main([*words, "--dev", "trial"]) == 0
    assert probe_picture((tmp_path / "out" / "wide.png").read_bytes(), "wide.png").width == 32
    assert main(words) == 2  # once: nothing was enabled
    assert main([*words, "--dev", "no_folder"]) == 2
