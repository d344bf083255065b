"""Fetching models from a real server on this machine: resumed, counted, hashed, guarded, stopped when offline."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.contracts.errors import (
    BadInput,
    Cancelled,
    InvalidRequest,
    NetworkError,
    StorageError,
    TesseraError,
    UnsafeModel,
)
from studio_app.application import Application
from studio_app.models.downloads import Download, Downloads, key_of
from studio_app.models.sources import find_source
from studio_app.network.guard import check_url, is_public
from studio_app.network.ledger import Call, Ledger
from studio_app.network.network import Network
from tests.unit.download_room import HOST, House, open_house
from tests.unit.model_headers import write_safetensors


@pytest.fixture
def house() -> Iterator[House]:
    with open_house() as house:
        yield house


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Application]:
    made = Application(tmp_path / "data")
    made.settings.set("network.trusted_hosts", [HOST])
    yield made
    made.close()


def lora(tmp_path: Path, size: int = 2_000_000) -> bytes:
    return write_lora(tmp_path / "given.safetensors", size).read_bytes()


def write_lora(path: Path, size: int) -> Path:
    return write_safetensors(
        path,
        {"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (size // 1536, 768),
         "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight": (320, size // 1536)},
    )  # fmt: skip


def network(house: House, offline: Callable[[], bool] = lambda: False, tmp: Path = Path("ledger")) -> Network:
    return Network(Ledger(tmp), offline, lambda: [HOST], token=lambda host: "")


def test_a_model_is_fetched_checked_and_put_among_the_loras(house: House, app: Application, tmp_path: Path) -> None:
    body = house.files["/style%20one.safetensors"] = lora(tmp_path)
    said: list[Download] = []
    digest = hashlib.sha256(body).hexdigest()
    path = app.downloads.fetch(house.url("/style%20one.safetensors"), digest.upper(), say=said.append)
    assert path == app.paths.models / "loras" / "style_one.safetensors"
    assert path.read_bytes() == body
    assert [item.state for item in said][:2] == ["finding", "fetching"]
    assert said[-1].state == "done"
    assert list((app.paths.models / ".incoming").iterdir()) == []
    listed = app.model_library.find("style_one")
    assert listed.note.source == house.url("/style%20one.safetensors")
    (call,) = app.network.ledger.recent()
    assert (call.host, call.status, call.received, call.purpose) == (HOST, 200, len(body), "fetch a model")


def test_a_fetched_model_becomes_a_version(house: House, app: Application, tmp_path: Path) -> None:
    first = app.model_library.bring_in(write_lora(tmp_path / "style.safetensors", 1_000_000))
    body = house.files["/new.safetensors"] = lora(tmp_path)
    page = house.url("/new.safetensors")
    assert app.downloads.fetch(page, version_of="style", note="softer") == first
    assert first.read_bytes() == body
    history = app.model_library.versions.of(app.model_library.find("style"))
    assert history is not None
    assert [(v.source, v.note) for v in history.versions] == [("", ""), (page, "softer")]


def test_a_download_that_broke_goes_on_where_it_stopped(house: House, app: Application, tmp_path: Path) -> None:
    body = house.files["/a.safetensors"] = lora(tmp_path)
    house.cut_after = 700_000
    with pytest.raises(NetworkError, match=r"(the line broke after|peer closed)"):
        app.downloads.fetch(house.url("/a.safetensors"))
    (left,) = app.downloads.list()
    assert (left.state, left.received, left.total) == ("stopped", 700_000, len(body))
    house.cut_after = None
    assert app.downloads.fetch(house.url("/a.safetensors")).read_bytes() == body
    assert house.asked[-1][2]["Range"] == "bytes=700000-"


def test_a_file_that_changed_meanwhile_is_fetched_anew(house: House, app: Application, tmp_path: Path) -> None:
    house.files["/a.safetensors"] = lora(tmp_path)
    house.cut_after = 500_000
    with pytest.raises(NetworkError):
        app.downloads.fetch(house.url("/a.safetensors"))
    house.cut_after, house.etag = None, '"two"'
    body = house.files["/a.safetensors"] = lora(tmp_path, 1_600_000)
    assert app.downloads.fetch(house.url("/a.safetensors")).read_bytes() == body


def test_another_hash_than_promised_is_not_kept(house: House, app: Application, tmp_path: Path) -> None:
    house.files["/a.safetensors"] = lora(tmp_path)
    with pytest.raises(UnsafeModel, match="its sha256 is"):
        app.downloads.fetch(house.url("/a.safetensors"), "0" * 64)
    assert not list((app.paths.models / ".incoming").glob("*.part"))
    assert app.model_library.list() == []


def test_what_is_no_model_is_not_kept(house: House, app: Application) -> None:
    house.files["/a.safetensors"] = b"<html>sign in</html>" * 100
    with pytest.raises(TesseraError):
        app.downloads.fetch(house.url("/a.safetensors"))
    assert not list((app.paths.models / ".incoming").glob("*safetensors"))


def test_a_pickle_that_would_run_code_is_refused(house: House, app: Application, tmp_path: Path) -> None:
    import pickle

    canary = tmp_path / "canary"

    class Trick:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (canary,)

    house.files["/a.ckpt"] = pickle.dumps({"state_dict": Trick()})
    with pytest.raises(BadInput):
        app.downloads.fetch(house.url("/a.ckpt"))
    assert not canary.exists()


def test_sizes_have_a_cap(house: House, app: Application, tmp_path: Path) -> None:
    house.files["/a.safetensors"] = lora(tmp_path, 20_000_000)
    app.settings.set("models.largest_download_gib", 0.01)
    with pytest.raises(InvalidRequest, match="Largest download"):
        app.downloads.fetch(house.url("/a.safetensors"))


def test_a_full_disk_is_told_before_it_is_full(
    house: House, app: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.files["/a.safetensors"] = lora(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(StorageError, match="are still to come"):
        app.downloads.fetch(house.url("/a.safetensors"))


def test_stopping_keeps_what_came(house: House, app: Application, tmp_path: Path) -> None:
    body = house.files["/a.safetensors"] = lora(tmp_path, 30_000_000)
    stop = threading.Event()

    def once(now: Download) -> None:
        if now.received:
            stop.set()

    with pytest.raises(Cancelled):
        app.downloads.fetch(house.url("/a.safetensors"), say=once, stop=stop)
    have = (app.paths.models / ".incoming" / f"{key_of(house.url('/a.safetensors'))}.part").stat().st_size
    assert 0 < have < len(body)


def test_in_the_background_it_is_followed_by_its_signal(house: House, app: Application, tmp_path: Path) -> None:
    house.files["/a.safetensors"] = lora(tmp_path)
    over = threading.Event()
    app.downloads.changed.subscribe(lambda now: over.set() if now.state in ("done", "failed") else None)
    key = app.downloads.start(house.url("/a.safetensors"))
    assert over.wait(20)
    assert app.downloads.get(key).state == "done", app.downloads.get(key)
    bad = app.downloads.start(house.url("/missing.safetensors"))
    over.clear()
    assert over.wait(20)
    assert "there is nothing at this address" in app.downloads.get(bad).failure


def test_nothing_is_asked_while_offline(house: House, app: Application, tmp_path: Path) -> None:
    house.files["/a.safetensors"] = lora(tmp_path)
    app.settings.set("network.offline", True)
    with pytest.raises(NetworkError, match="offline"):
        app.downloads.fetch(house.url("/a.safetensors"))
    assert house.asked == []


def test_the_offline_switch_stops_a_running_download(house: House, app: Application, tmp_path: Path) -> None:
    house.files["/a.safetensors"] = lora(tmp_path, 30_000_000)

    def once(now: Download) -> None:
        if now.received:
            app.settings.set("network.offline", True)

    with pytest.raises(NetworkError, match="offline"):
        app.downloads.fetch(house.url("/a.safetensors"), say=once)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://a.example/x.safetensors", "no web address"),
        ("file:///etc/passwd", "no web address"),
        ("http://a.example/x.safetensors", "open line"),
        ("https://me:secret@a.example/x.safetensors", "name or password"),
        ("https://a.example:99999/x", "no address"),
        ("no address at all", "no web address"),
    ],
)
def test_addresses_that_are_not_asked(url: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        check_url(url)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True), ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True), ("127.0.0.1", False),
        ("10.1.2.3", False), ("172.20.0.1", False), ("192.168.1.1", False), ("169.254.169.254", False),
        ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False), ("255.255.255.255", False), ("::1", False),
        ("fe80::1%eth0", False), ("fc00::1", False), ("fec0::1", False), ("::ffff:127.0.0.1", False),
        ("::ffff:192.168.0.1", False), ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False), ("::127.0.0.1", False),
        ("ff02::1", False), ("2001:db8::1", False),
    ],
)  # fmt: skip
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_name_that_leads_into_the_house_is_not_followed(house: House, tmp_path: Path) -> None:
    """The name is judged by what it resolves to, also one among several, and also behind a redirect."""
    house.redirects["/a.safetensors"] = "https://inner.example/secret"
    answers = {HOST: [HOST], "inner.example": ["93.184.215.14", "192.168.0.7"]}
    net = Network(
        Ledger(tmp_path / "ledger"), lambda: False, lambda: [HOST], resolve=lambda host, port: answers[host],
        token=lambda host: "",
    )  # fmt: skip
    with (
        pytest.raises(NetworkError, match=r"192\.168\.0\.7 lies in a private network"),
        net.ask(house.url("/a.safetensors"), purpose="test"),
    ):
        pass
    net.close()
    assert [call.host for call in net.ledger.recent()] == ["inner.example", HOST]


def test_circles_of_redirects_end(house: House, tmp_path: Path) -> None:
    house.redirects["/a"] = house.url("/a")
    net = network(house, tmp=tmp_path / "ledger")
    with pytest.raises(NetworkError, match="leads on more than 5 times"), net.ask(house.url("/a"), purpose="test"):
        pass
    net.close()


def test_the_ledger_tells_no_queries_and_stays_small(tmp_path: Path, house: House) -> None:
    house.files["/a"] = b"x" * 100
    net = network(house, tmp=tmp_path / "ledger.jsonl")
    with net.ask(house.url("/a?key=secret"), purpose="test") as answer:
        assert answer.body() == b"x" * 100
    with pytest.raises(NetworkError, match="longer than 10"), net.ask(house.url("/a"), purpose="test") as answer:
        answer.body(10)
    net.close()
    assert "secret" not in (tmp_path / "ledger.jsonl").read_text()
    assert net.ledger.recent(1)[0].failure.startswith("the answer is longer")
    (tmp_path / "ledger.jsonl").write_text("x" * (2 << 20))
    net.ledger.add(Call(0.0, "test", "GET", "a.example", "/"))
    assert (tmp_path / "ledger.jsonl").stat().st_size < 1000


class Pages:
    """Answers for pages of other hosts, without their hosts: what `find_source` asks for."""

    def __init__(self, answers: dict[str, object]) -> None:
        self.answers = answers

    def checked(self, url: str) -> str:
        return check_url(url)

    def json(self, url: str, *, purpose: str) -> object:
        return self.answers[url]


def test_civitai_pages_are_looked_up() -> None:
    version = {
        "id": 7, "name": "v2", "baseModel": "SDXL 1.0", "trainedWords": ["inkstyle"], "model": {"name": "Ink"},
        "files": [
            {"name": "config.yaml", "downloadUrl": "https://civitai.com/api/download/models/7?type=Config"},
            {"name": "ink.safetensors", "primary": True, "sizeKB": 2, "hashes": {"SHA256": "AB" * 32},
             "downloadUrl": "https://civitai.com/api/download/models/7"},
        ],
    }  # fmt: skip
    pages = Pages({
        "https://civitai.com/api/v1/model-versions/7": version,
        "https://civitai.com/api/v1/models/3": {"modelVersions": [{"id": 7}, {"id": 6}]},
    })  # fmt: skip
    for page in (
        "https://civitai.com/models/3/ink", "https://civitai.com/models/3?modelVersionId=7",
        "https://civitai.com/api/download/models/7?type=Model",
    ):  # fmt: skip
        source = find_source(pages, page)  # type: ignore[arg-type]
        assert (source.name, source.size, source.sha256) == ("ink.safetensors", 2048, "ab" * 32)
        assert dict(source.about) == {
            "trigger_words": "inkstyle", "base_model": "SDXL 1.0", "title": "Ink", "version": "v2"
        }  # fmt: skip


def test_hugging_face_pages_lead_to_the_file_and_its_hash(house: House, tmp_path: Path) -> None:
    """The page is turned into the file's address; the hash is in the answer that redirects to the storage."""
    house.redirects["/owner/repo/resolve/main/a.safetensors"] = "/storage"
    house.heads["/owner/repo/resolve/main/a.safetensors"] = {"X-Linked-Etag": f'"{"cd" * 32}"', "X-Linked-Size": "512"}
    house.files["/storage"] = b"x" * 512
    real = network(house, tmp=tmp_path / "ledger")
    asked = []

    class Here(Network):
        def ask(self, url: str, **more: object):  # type: ignore[no-untyped-def]
            asked.append(url)
            return real.ask(url.replace("https://huggingface.co", house.url("")), **more)  # type: ignore[arg-type]

    there = Here(Ledger(tmp_path / "l2"), lambda: False)
    source = find_source(there, "https://huggingface.co/owner/repo/blob/main/a.safetensors?x=1")
    real.close()
    assert asked == ["https://huggingface.co/owner/repo/resolve/main/a.safetensors"]
    assert (source.name, source.size, source.sha256) == ("a.safetensors", 512, "cd" * 32)


@pytest.mark.parametrize("page", ["https://a.example/", "https://a.example/page.html", "https://a.example/..%2f..%2fx"])
def test_pages_that_name_no_model_are_refused(page: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="names no model file"):
        find_source(Network(Ledger(tmp_path / "l"), lambda: False), page)


def test_tokens_go_to_their_own_host_only(house: House, tmp_path: Path) -> None:
    """Tokens travel over https alone, so a plain loopback server must never see one."""
    house.files["/a"] = b"x"
    net = Network(Ledger(tmp_path / "l"), lambda: False, lambda: [HOST], token=lambda host: "secret")
    with net.ask(house.url("/a"), purpose="test") as answer:
        answer.body()
    net.close()
    assert "Authorization" not in house.asked[-1][2]


def test_without_a_keyring_a_token_is_not_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring
    from keyring.backends.fail import Keyring

    from studio_app.network.secrets import keep_token, token_for

    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())  # type: ignore[no-untyped-call]
    try:
        assert token_for("huggingface.co") == ""
        with pytest.raises(StorageError, match="no keyring"):
            keep_token("huggingface.co", "hf_abc")
        with pytest.raises(InvalidRequest, match="no spaces"):
            keep_token("huggingface.co", "two words")
    finally:
        keyring.set_keyring(before)


def test_unfinished_downloads_of_other_sessions_are_listed(app: Application, tmp_path: Path) -> None:
    incoming = app.paths.models / ".incoming"
    incoming.mkdir(parents=True)
    (incoming / "aa.json").write_text(json.dumps({"page": "https://a.example/x", "name": "x", "size": 9}))
    (incoming / "aa.part").write_bytes(b"1234")
    (incoming / "bb.json").write_text("{")
    (found,) = app.downloads.list()
    assert (found.state, found.received, found.total) == ("stopped", 4, 9)
    assert isinstance(app.downloads, Downloads)
    app.downloads.discard("aa")
    assert app.downloads.list() == []
