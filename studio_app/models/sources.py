"""Addresses of models: what a person pastes → what is fetched, with the hash and words its host gives.

Hugging Face pages of a file (`/blob/`) become the file itself, and its answer's `X-Linked-Etag` is the sha256 of it.
Civitai pages and download addresses are looked up by its public API for name, hash, trigger words and base model. Any
other https address is taken as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from engine.contracts.errors import InvalidRequest, NetworkError, clip
from engine.media.file_names import safe_name
from studio_app.network.network import Network, refusal

HUGGING_FACE = "huggingface.co"
CIVITAI = "civitai.com"
PURPOSE = "find a model"
ENDINGS = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin", ".onnx")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Source:
    """url     where the bytes come from                page    what the person gave
    name    the file's name                          size    bytes, 0 when it is not known yet
    sha256  lower-case hex, "" when the host tells none
    about   what else the host says: "trigger_words", "base_model", "title", "version"
    """

    url: str
    page: str
    name: str
    size: int = 0
    sha256: str = ""
    about: tuple[tuple[str, str], ...] = ()


def find_source(network: Network, text: str, sha256: str = "") -> Source:
    """What an address leads to. `sha256`, if given, is what the file must have.

    Raises InvalidRequest for an address that names no model file, NetworkError when its host can't be asked.
    """
    if sha256 and not is_sha256(sha256):
        raise InvalidRequest("a sha256 has 64 hexadecimal digits", where=clip(sha256))
    url = network.checked(text)
    parts = urlsplit(url)
    host = (parts.hostname or "").removeprefix("www.")
    if host == HUGGING_FACE:
        found = _hugging_face(network, url)
    elif host == CIVITAI:
        found = _civitai(network, url)
    else:
        found = Source(url, url, file_name(parts.path, url))
    if sha256 and found.sha256 and sha256.lower() != found.sha256:
        raise InvalidRequest(
            f"the host says the file has the sha256 {found.sha256[:12]}…, you gave {sha256[:12].lower()}…",
            where=found.name, fix="Check the address",
        )  # fmt: skip
    return Source(found.url, found.page, found.name, found.size, found.sha256 or sha256.lower(), found.about)


def is_sha256(text: str) -> bool:
    """Whether a text is a sha256 in hexadecimal digits."""
    return _SHA256.fullmatch(text) is not None


def file_name(path: str, where: str) -> str:
    """A safe file name from the end of a URL's path. Raises InvalidRequest when it is no model file's."""
    given = PurePosixPath(unquote(path).replace("\\", "/"))
    name = safe_name(given.stem.replace("%", " "), {}, "model") + given.suffix
    if given.suffix.lower() not in ENDINGS:
        raise InvalidRequest(
            "the address names no model file", where=clip(where, 120),
            fix=f"Its end is one of {', '.join(ENDINGS)}; on Hugging Face open the file itself",
        )  # fmt: skip
    return name


def _hugging_face(network: Network, url: str) -> Source:
    parts = urlsplit(url)
    path = re.sub(r"^(/(?:datasets/)?[^/]+/[^/]+)/blob/", r"\1/resolve/", parts.path)
    direct = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    name = file_name(path, url)
    with network.ask(direct, purpose=PURPOSE, method="HEAD") as answer:
        if answer.status >= 400:
            raise NetworkError(refusal(answer.status), where=HUGGING_FACE, fix=_TOKEN.format(HUGGING_FACE))
        # The answer that redirects carries the hash; behind it only the storage answers, which knows none.
        heads = [*answer.passed, answer.headers]
        etag = next((h["x-linked-etag"] for h in heads if "x-linked-etag" in h), "").strip('W/"').lower()
        size = next((h["x-linked-size"] for h in heads if "x-linked-size" in h), "") or answer.headers.get(
            "content-length", "0"
        )
    return Source(direct, url, name, int(size) if size.isdigit() else 0, etag if _SHA256.fullmatch(etag) else "")


_TOKEN = "If it wants a token, keep one with “models token {}”"


def _civitai(network: Network, url: str) -> Source:
    parts = urlsplit(url)
    version = _civitai_version(network, parts.path, parse_qs(parts.query))
    data = network.json(f"https://{CIVITAI}/api/v1/model-versions/{version}", purpose=PURPOSE)
    files = [f for f in _list(data, "files") if isinstance(f, dict) and isinstance(f.get("downloadUrl"), str)]
    if not files:
        raise NetworkError("this version has no file to fetch", where=CIVITAI)
    wanted = next((f for f in files if f.get("primary")), files[0])
    hashes = wanted.get("hashes")
    sha256 = str(hashes.get("SHA256", "")) if isinstance(hashes, dict) else ""
    size = wanted.get("sizeKB")
    model = data.get("model")
    about = {
        "trigger_words": ", ".join(str(word) for word in _list(data, "trainedWords"))[:2000],
        "base_model": clip(str(data.get("baseModel") or "")),
        "title": clip(str(model.get("name") or "")) if isinstance(model, dict) else "",
        "version": clip(str(data.get("name") or "")),
    }
    name = file_name(str(wanted.get("name") or ""), url)
    return Source(
        network.checked(wanted["downloadUrl"]), url, name, int(size * 1024) if isinstance(size, (int, float)) else 0,
        sha256.lower() if _SHA256.fullmatch(sha256) else "", tuple((k, v) for k, v in about.items() if v),
    )  # fmt: skip


def _civitai_version(network: Network, path: str, query: dict[str, list[str]]) -> int:
    direct = re.match(r"^/api/download/models/(\d+)", path)
    named = (query.get("modelVersionId") or [direct.group(1) if direct else ""])[0]
    if named.isdigit():
        return int(named)
    page = re.match(r"^/models/(\d+)", path)
    if not page:
        raise InvalidRequest("this is no page of a model", where=CIVITAI, fix="Open the model’s own page")
    data = network.json(f"https://{CIVITAI}/api/v1/models/{page.group(1)}", purpose=PURPOSE)
    newest = next((v for v in _list(data, "modelVersions") if isinstance(v, dict)), {})
    if not isinstance(newest.get("id"), int):
        raise NetworkError("this model has no version to fetch", where=CIVITAI)
    return int(newest["id"])


def _list(data: Any, key: str) -> list[Any]:
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, list) else []
