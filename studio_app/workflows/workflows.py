"""The open workflows: tabs with their documents, files and journals. `app.workflows` is one of these.

It belongs to the GUI thread; writing journals happens on a thread of its own. Whatever happens to the process, `start`
brings the tabs back as they were, but for at most the last second.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.contracts.errors import InvalidRequest, TesseraError
from engine.contracts.workflow import Workflow
from engine.graph.registry import Registry
from studio_app.documents.edits import SetNames
from studio_app.documents.graph_document import GraphDocument
from studio_app.documents.journal import Journal, JournalWriter, replay
from studio_app.events import Signal
from studio_app.files import set_aside
from studio_app.store.blobs import Blobs
from studio_app.workflows.files import ChangedOutside, Stamp, free_path, read_workflow, write_workflow
from studio_app.workflows.library import WorkflowLibrary
from studio_app.workflows.locks import EditLock
from studio_app.workflows.session import Session, Tab, Tabs, View
from studio_app.workflows.versions import Version, Versions


@dataclass(eq=False)
class OpenWorkflow:
    """A tab. `notice` is a sentence to show with it ("" for none): that it is a copy, that its file has changed."""

    id: str
    document: GraphDocument
    journal: Journal
    path: Path | None = None
    stamp: Stamp | None = None
    view: View = field(default_factory=View)
    notice: str = ""
    lock: EditLock | None = None

    @property
    def title(self) -> str:
        """The workflow's name, else its file's, else “Untitled”."""
        name = self.document.content.top.name
        return name or (self.path.name.partition(".")[0] if self.path else "") or "Untitled"

    @property
    def is_changed(self) -> bool:
        """Whether there is something that no file holds."""
        return self.document.is_changed


class Workflows:
    """Opens, saves and closes workflows. `tabs_changed` tells when a tab came, went, or got another file or title.

    `data` is the person's data folder, `templates` the shipped ones; `registry` gives the node types there are now;
    `failed` hears the sentence when edits can't be written down at the moment.
    """

    def __init__(
        self,
        data: Path,
        templates: Path,
        blobs: Blobs,
        registry: Callable[[], Registry],
        failed: Callable[[str], object] | None = None,
    ) -> None:
        self._registry = registry
        self._writer = JournalWriter(failed)
        self._session = Session(data / "session", self._writer)
        self._locks = data / "locks"
        self._started = False
        self._current = ""
        self.recovered = False  # the last process ended without closing, and tabs of it came back
        self.tabs: list[OpenWorkflow] = []
        self.tabs_changed: Signal[OpenWorkflow] = Signal()
        self.library = WorkflowLibrary(data / "workflows", data / "subgraphs", templates, blobs)
        self.versions = Versions(data / "versions", blobs)

    # ---- life

    def start(self) -> list[OpenWorkflow]:
        """Bring back the tabs of a session that ended or crashed; returns them, the current one is `current`.

        Raises StorageError when the data folder can't be used; workflows then open without a journal that lasts.
        """
        if self._started:
            return list(self.tabs)
        self._started = True
        told = self._session.start()
        for tab in told.tabs:
            restored = self._restored(tab)
            if restored is not None:
                self.tabs.append(restored)
        self._current = told.current
        self.recovered = bool(self.tabs) and not told.closed
        self._note()
        return list(self.tabs)

    def close(self) -> None:
        """Write everything down and let the session go, for the next start to take up."""
        self._note(closed=True)
        self._writer.close()
        self._session.release()
        for tab in self.tabs:
            if tab.lock is not None:
                tab.lock.release()

    def flush(self) -> bool:
        """Write down what waits, now; whether all could be."""
        return self._writer.flush()

    # ---- tabs

    @property
    def current(self) -> OpenWorkflow | None:
        """The tab in front."""
        found = next((tab for tab in self.tabs if tab.id == self._current), None)
        return found or (self.tabs[-1] if self.tabs else None)

    def show(self, tab: OpenWorkflow) -> None:
        """Bring a tab to the front."""
        self._current = tab.id
        self._note()

    def look(self, tab: OpenWorkflow, view: View) -> None:
        """Note what is seen of a tab's canvas; cheap enough for every pan."""
        tab.view = view
        self._note()

    def reorder(self, tabs: list[OpenWorkflow]) -> None:
        """Give the tabs another order."""
        self.tabs.sort(key=tabs.index)
        self._note()

    def new(self, workflow: Workflow | None = None, *, notice: str = "") -> OpenWorkflow:
        """A tab with a workflow that has no file yet: an empty one, a template, an import."""
        document = GraphDocument(replace(workflow or Workflow(), id=_new_id()), self._registry())
        if workflow is not None and workflow.nodes:
            document.mark_changed()
        return self._added(document, None, None, None, notice)

    def open(self, path: Path) -> OpenWorkflow:
        """A tab with the workflow in a file; the tab it already has here is brought to the front.

        One that another window or process edits is opened as a copy without a file, and the tab's notice says so.
        Raises InvalidDocument.
        """
        path = path.absolute()
        for tab in self.tabs:
            if tab.path == path:
                self.show(tab)
                return tab
        workflow, stamp = read_workflow(path)
        lock = EditLock.claim(self._locks, path)
        if lock is None or not workflow.id:
            workflow = replace(workflow, id=_new_id())
        document = GraphDocument(workflow, self._registry())
        if lock is None:
            document.mark_changed()
            notice = f"“{path.name}” is open in another window, so this is a copy. Save it under another name."
            return self._added(document, None, None, None, notice)
        return self._added(document, path, stamp, lock, "")

    def close_tab(self, tab: OpenWorkflow) -> None:
        """Close a tab; what no file holds is lost, so ask first."""
        self.tabs.remove(tab)
        self._note()
        tab.journal.discard()
        if tab.lock is not None:
            tab.lock.release()
        self.tabs_changed.emit(tab)

    # ---- saving

    def save(self, tab: OpenWorkflow, *, note: str = "", overwrite: bool = False) -> Path:
        """Write a tab to its file, and keep a version of it under `note`.

        Raises InvalidRequest when it has no file, ChangedOutside when the file is no longer what was opened (unless
        `overwrite`), StorageError.
        """
        if tab.path is None:
            raise InvalidRequest("this workflow has no file yet", fix="Save it under a name")
        if not overwrite and (found := Stamp.of(tab.path)) is not None and found != tab.stamp:
            raise ChangedOutside(tab.path)
        tab.stamp = write_workflow(tab.path, tab.document.workflow)
        tab.document.mark_saved()
        self._note()
        self.versions.add(tab.document.workflow, note)
        self.tabs_changed.emit(tab)
        return tab.path

    def save_as(self, tab: OpenWorkflow, path: Path | None = None, *, note: str = "") -> Path:
        """Write a tab to another file, which is its own from then on; without a path to a new one in the library.

        Raises InvalidRequest when another window edits that file, StorageError.
        """
        path = (path or free_path(self.library.own, tab.title)).absolute()
        if path != tab.path:
            if any(other.path == path for other in self.tabs):
                raise InvalidRequest(f"“{path.name}” is open in another tab", fix="Choose another name")
            lock = EditLock.claim(self._locks, path)
            if lock is None:
                raise InvalidRequest(f"“{path.name}” is open in another window", fix="Choose another name")
            former = tab.path, tab.lock
            if tab.path is not None:
                tab.document.identify(_new_id())  # a workflow of its own, with versions of its own
            tab.path, tab.lock = path, lock
            try:
                self.save(tab, note=note, overwrite=True)
            except TesseraError:
                tab.path, tab.lock = former
                lock.release()
                raise
            if former[1] is not None:
                former[1].release()
            tab.notice = ""
            return path
        return self.save(tab, note=note, overwrite=True)

    def rename_file(self, path: Path, name: str) -> None:
        """Give the workflow in a file of the library another name; one that is open here is renamed by an edit.

        Raises TesseraError: the file can't be read or written, or another window edits it.
        """
        for tab in self.tabs:
            if tab.path == path:
                former = tab.document.content.top.description
                tab.document.edit("Rename the workflow", SetNames(name=name, description=former))
                self.tabs_changed.emit(tab)
                return
        lock = EditLock.claim(self._locks, path)
        if lock is None:
            raise InvalidRequest(f"“{path.name}” is open in another window", fix="Rename it there")
        try:
            workflow, _ = read_workflow(path)
            write_workflow(path, replace(workflow, name=name))
        finally:
            lock.release()

    def restore_version(self, tab: OpenWorkflow, version: Version) -> None:
        """Put a former version in place of what is open, as one edit that can be undone. Raises TesseraError."""
        from studio_app.documents.replace import ReplaceWorkflow

        tab.document.open_level(())
        tab.document.edit("Restore version", ReplaceWorkflow(self.versions.read(version)))

    # ----

    def _added(
        self, document: GraphDocument, path: Path | None, stamp: Stamp | None, lock: EditLock | None, notice: str
    ) -> OpenWorkflow:
        tab_id = secrets.token_hex(8)
        journal = Journal(self._session.journal_path(tab_id), self._writer)
        tab = OpenWorkflow(tab_id, document, journal, path, stamp, notice=notice, lock=lock)
        if self._started:
            journal.begin(document)
        self.tabs.append(tab)
        self._current = tab_id
        self._note()
        self.tabs_changed.emit(tab)
        return tab

    def _restored(self, tab: Tab) -> OpenWorkflow | None:
        """A tab from its journal. One that can't be read is set aside, never deleted."""
        path = self._session.journal_path(tab.id)
        try:
            found = replay(path, self._registry())
        except TesseraError:
            set_aside(path)
            return None
        journal = Journal(path, self._writer)
        opened = OpenWorkflow(tab.id, found.document, journal, view=tab.view)
        journal.resume(found)
        if tab.path:
            self._take_file(opened, Path(tab.path), Stamp(tab.time, tab.size))
        return opened

    def _take_file(self, tab: OpenWorkflow, path: Path, stamp: Stamp) -> None:
        lock = EditLock.claim(self._locks, path)
        if lock is None:
            tab.document.mark_changed()
            tab.notice = f"“{path.name}” is open in another window, so this is a copy. Save it under another name."
            return
        tab.path, tab.stamp, tab.lock = path, stamp, lock
        found = Stamp.of(path)
        if found is None:
            tab.document.mark_changed()
            tab.notice = f"“{path.name}” is no longer there; what you see was kept by the studio."
        elif found != stamp:
            tab.notice = f"“{path.name}” was changed by another program; what you see is as you left it."

    def _note(self, *, closed: bool = False) -> None:
        if not self._started:
            return
        tabs = tuple(
            Tab(
                id=tab.id, path=str(tab.path) if tab.path else "", view=tab.view,
                time=tab.stamp.time if tab.stamp else 0, size=tab.stamp.size if tab.stamp else 0,
            )
            for tab in self.tabs
        )  # fmt: skip
        self._session.put(Tabs(tabs=tabs, current=self._current, closed=closed))


def _new_id() -> str:
    return secrets.token_hex(12)
