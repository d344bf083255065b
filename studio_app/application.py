"""Builds the parts of the studio and wires them. No Qt: the window, the command line and the tests share it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.contracts.errors import MissingModel, StorageError, TesseraError, clip
from engine.contracts.job_events import JobEvent
from engine.contracts.references import STARTER_NAME, ModelRef
from engine.contracts.results import ResultRecord
from engine.models.model_file import ModelFile
from engine.prompts import wildcards
from studio_app.commands import Commands
from studio_app.engine import Engine, session_for
from studio_app.events import Signal
from studio_app.jobs.queue import Jobs
from studio_app.jobs.recorder import Recorder
from studio_app.jobs.results import ResultKeeper
from studio_app.jobs.rows import ExportTarget, JobRow
from studio_app.library.library import Library
from studio_app.models.background import Background
from studio_app.models.index import Locator, ModelIndex
from studio_app.models.library import ModelLibrary
from studio_app.notifications import Notifications
from studio_app.paths import Paths
from studio_app.plugins.consent import Consent
from studio_app.plugins.plugins import Plugins
from studio_app.prompts.history import Prompts
from studio_app.settings.store import Settings
from studio_app.store.store import Recovery, Store
from studio_app.styles import Styles

if TYPE_CHECKING:
    from engine.graph.cache import ValueCache
    from engine.graph.registry import Registry
    from engine.graph.services import Services
    from studio_app.models.downloads import Downloads
    from studio_app.network.network import Network
    from studio_app.prompts.completions import Completions
    from studio_app.workflows.workflows import Workflows

log = logging.getLogger(__name__)


class Application:
    """The studio without a screen. Constructing it reads and writes nothing and imports no SQLite and no torch.

    `data_dir` is the person's data folder (else $TESSERA_DATA, else the system's custom). `library_dir` puts blobs and
    database elsewhere: a temporary folder keeps a run out of the person's library. `registry` gives the node types
    (else the built-in ones and those of enabled plugins, as they are when a job starts); it is asked on the recorder's
    thread.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        library_dir: Path | None = None,
        registry: Callable[[], Registry] | None = None,
    ) -> None:
        self.paths = Paths.find(data_dir)
        wildcards.FOLDER.path = self.paths.wildcards
        self.settings = Settings(self.paths.settings_file)
        self.events: Signal[JobEvent] = Signal()
        self.notifications = Notifications()
        self.commands = Commands()
        self.models = ModelIndex(self.paths.starter_model, self._model_folders, self._model_files)
        self.styles = Styles(self.paths.resources / "styles.json", self.paths.styles_file)
        self.prompts = Prompts(self.paths.prompts_file, self.paths.resources / "insertions.json")
        self.plugins = Plugins(self._node_folders, Consent(self.paths.consent_file), self.paths.cache / "plugins")
        self.engine = Engine()
        self.recovery = Recovery()
        self._registry = registry
        self._said_of_plugins: set[str] = set()
        self._recorder = Recorder()
        self._keeps = library_dir is None
        self._library_folder = library_dir or self.paths.data
        self._store = Store(self._library_folder)
        self._ready = threading.Event()
        self._store_open = False
        self._started = False
        self._lock = threading.Lock()
        self._store_lock = threading.RLock()
        self.model_library = ModelLibrary(
            self._store, self._open_store, self._model_folders, self._library_folder / "trash", self.paths.starter_model
        )
        self.model_background = Background(self.model_library, self._model_folders)
        self.model_library.changed.subscribe(lambda count: self.models.refresh())
        self.library = Library(self._store, lambda: self._store_open, self._unsaved_budget)
        self._keeper = ResultKeeper(self._store, self.library, self.notifications, lambda: self._store_open)
        self.jobs = Jobs(
            recorder=self._recorder, store=self._store, engine=self.engine, library=self.library, models=self.models,
            styles=self.styles, events=self.events, keeper=self._keeper,
        )  # fmt: skip

    # --- life

    def start(self) -> None:
        """Open the store and the engine lane on their own threads; returns at once, a second call does nothing."""
        with self._lock:
            if self._started:
                return
            self._started = True
        self._recorder.start()
        self._recorder.post(self._open)

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Wait until the store is open (or known to be unusable) and the lane takes jobs."""
        return self._ready.wait(timeout)

    def node_types(self) -> Registry:
        """The node types there are now: built in, and of enabled plugins."""
        return self._registry() if self._registry is not None else self._plugin_registry()

    def close(self) -> None:
        """Stop what runs, finish the writing, close the files. Jobs that had not finished show as interrupted."""
        if "downloads" in vars(self):
            self.downloads.close()
        if "network" in vars(self):
            self.network.close()
        if "workflows" in vars(self):
            self.workflows.close()
        self.engine.close()
        self._recorder.close()
        self.model_background.close()
        self._store.close()

    # --- made when first asked for: they bring numpy, which a light command does without

    @cached_property
    def workflows(self) -> Workflows:
        from studio_app.workflows.workflows import Workflows

        return Workflows(
            self._library_folder, self.paths.resources / "workflows", self._store.blobs, self.node_types,
            lambda sentence: self.notifications.post("warning", sentence),
        )  # fmt: skip

    # --- what reaches out; made when first asked for, since a window that stays offline needs no HTTP client

    @cached_property
    def network(self) -> Network:
        from studio_app.network.ledger import Ledger
        from studio_app.network.network import Network

        def trusted() -> list[str]:
            return [host for host in self.settings.get("network.trusted_hosts") if isinstance(host, str)]

        return Network(Ledger(self.paths.network_ledger), lambda: bool(self.settings.get("network.offline")), trusted)

    @cached_property
    def downloads(self) -> Downloads:
        from studio_app.models.downloads import Downloads

        def limit() -> int:
            return int(self.settings.get("models.largest_download_gib") * 2**30)

        return Downloads(self.network, self.model_library, lambda: self.paths.models, limit)

    @cached_property
    def completions(self) -> Completions:
        from studio_app.prompts.completions import Completions

        return Completions(self)

    # --- what needs more than one part

    def output_folder(self) -> Path:
        """Where finished pictures are saved as files of their own."""
        chosen: str = self.settings.get("generation.output_folder")
        return Path(chosen).expanduser() if chosen else self.paths.pictures

    def default_export(self) -> ExportTarget | None:
        """Where a finished picture goes by the settings; None when it is kept in the library only."""
        if not self.settings.get("generation.export"):
            return None
        return ExportTarget(self.output_folder(), self.settings.get("generation.name_pattern"))

    def retry_unsaved(self) -> int:
        """Try to keep the pictures that wait in memory once more; how many could be."""

        def keep(record: ResultRecord, data: bytes) -> None:
            self._keeper.keep_again(record, data, self._row_of(record))

        return self.library.retry_unsaved(keep)

    def flush(self, timeout: float | None = 30.0) -> bool:
        """Wait until everything said and made so far is written."""
        return self._recorder.flush(timeout)

    # --- on the recorder's thread

    def _open(self) -> None:
        try:
            try:
                self._open_store()
                self.jobs.opened()
                self._report(self.recovery)
            except StorageError as error:
                self.notifications.post("error", f"{error} New pictures are kept in memory until you save them.")
            self._open_lane_guarded()
            if self._store_open:
                self.model_background.start()
            for complaint in (*self.settings.complaints, *self.styles.complaints, *self.prompts.complaints):
                self.notifications.post("warning", complaint)
        finally:
            self._ready.set()

    def _open_store(self) -> None:
        """Open the store unless it is; the model library asks for it too. Raises StorageError."""
        with self._store_lock:
            if not self._store_open:
                self.recovery = self._store.open()
                self._store_open = True
                self.model_library.recover()
                self.models.refresh()

    def _open_lane_guarded(self) -> None:
        try:
            self._open_lane()
        except Exception as error:
            # A broken installation or node: the library still opens, and each job says why it can't run.
            log.exception("the engine could not be opened")
            sentence = f"The engine could not be started ({type(error).__name__}: {clip(str(error), 200)})."
            self.engine.fail(sentence)
            self.notifications.post("error", sentence)

    def _open_lane(self) -> None:
        from engine.graph.registry import Registry
        from engine.graph.services import Services
        from engine.worker.in_process import EngineLane
        from studio_app.results_cache import open_texts

        choice: str = self.settings.get("engine.device")
        locator, blobs = Locator(self.models), self._store.blobs

        def session() -> Any:  # on the lane, at the first node that needs a model
            return session_for(locator, self.settings, self.paths.cache, open_texts(self.settings, self._kept_folder()))

        def services() -> Services:
            return Services(blobs=blobs, models=locator, session=session, device=choice)

        cache = self.result_cache()
        given = self._registry
        lane = EngineLane(
            services, (given or Registry.builtin)(), cache, warm_up=self._warm_up,
            node_types=None if given else self._plugin_registry,
        )  # fmt: skip
        lane.start()
        self.engine.attach(lane)

    def result_cache(self) -> ValueCache:
        """The engine's kept results, as it finds them at a start."""
        from studio_app.results_cache import open_cache

        return open_cache(self.settings, self._kept_folder())

    def _kept_folder(self) -> Path | None:
        """Where results and read prompts are kept on disk. A library that is thrown away keeps none."""
        return self.paths.cache / "results" if self._keeps else None

    def _warm_up(self, services: Services) -> None:
        """Load the model that the next picture will most likely ask for."""
        last = self.settings.get("create.last_request")
        try:
            model = self.models.entry(ModelRef.from_json(last.get("model", {"name": STARTER_NAME})))
        except TesseraError:
            return  # the request itself will say what is missing
        services.get_session().warm(model.ref)

    def _report(self, recovery: Recovery) -> None:
        post = self.notifications.post
        if recovery.rebuilt:
            post(
                "warning", f"The library's database was lost or damaged; {recovery.rebuilt} pictures were found again."
            )
        if recovery.interrupted:
            jobs = "1 job was" if recovery.interrupted == 1 else f"{recovery.interrupted} jobs were"
            post("info", f"{jobs} interrupted when the studio last closed; the queue can run them again.")
        if recovery.exports_failed:
            lost = f"{recovery.exports_failed} finished pictures could not be saved to their folder"
            post("warning", f"{lost}; they are in the library.")

    def _row_of(self, record: ResultRecord) -> JobRow:
        try:
            return self.jobs.get(record.job)
        except MissingModel:
            return JobRow(id=record.job, number=0, title=record.spec.title, spec=record.spec, status="succeeded")

    def _model_folders(self) -> list[Path]:
        more = self.settings.get("models.folders")
        folders = [Path(item).expanduser() for item in more if isinstance(item, str)] if isinstance(more, list) else []
        return [self.paths.models, *folders]

    def _model_files(self, look: bool) -> list[tuple[Path, ModelFile]]:
        """The files of the model library; unless told to look, none before the store is open. Raises StorageError."""
        if not look and not self._store_open:
            return []
        return [(item.path, item.file) for item in self.model_library.list(scan=look) if item.file is not None]

    def _node_folders(self) -> list[Path]:
        more = self.settings.get("nodes.folders")
        folders = [Path(item).expanduser() for item in more if isinstance(item, str)] if isinstance(more, list) else []
        return [self.paths.nodes, *folders]

    def _plugin_registry(self) -> Registry:
        """The node types as the person's files are now; what is newly wrong with them is said once."""
        registry = self.plugins.registry()
        for complaint in self.plugins.complaints:
            if complaint not in self._said_of_plugins:
                self._said_of_plugins.add(complaint)
                self.notifications.post("warning", complaint)
        return registry

    def _unsaved_budget(self) -> int:
        mib: int = self.settings.get("engine.unsaved_mib")
        return mib * 2**20
