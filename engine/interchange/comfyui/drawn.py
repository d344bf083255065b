"""The points that a canvas draws links through. They carry nothing; an import keeps them for the way back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def drawn_reroutes(kept: object, graph: Mapping[str, Any]) -> dict[str, Any]:
    """`reroutes` and `linkExtensions` as version 0.4 keeps them in `extra`, for a graph written anew.

    kept   what the import noted: {"reroutes": [[id, parent, x, y]…], "through": [[target node, input name, point]…]}
    graph  `nodes` and `links` as lists: [id, source, source slot, target, target slot, type]
    """
    points = [p for p in _lists(kept, "reroutes") if len(p) == 4 and str(p[0]).isdecimal()]
    known = {str(p[0]): str(p[1]) for p in points}
    passed = {(str(t[0]), str(t[1])): str(t[2]) for t in _lists(kept, "through") if len(t) == 3 and str(t[2]) in known}
    if not points:
        return {}
    names = {(node["id"], slot): i["name"] for node in graph["nodes"] for slot, i in enumerate(node["inputs"])}
    extensions = []
    through: dict[str, list[int]] = {point: [] for point in known}
    for link in graph["links"]:
        point = passed.get((str(link[3]), names.get((link[3], link[4]), "")), "")
        if point:
            extensions.append({"id": link[0], "parentId": int(point)})
        seen: set[str] = set()
        while point in known and point not in seen:
            seen.add(point)
            through[point].append(link[0])
            point = known[point]
    reroutes = [
        {"id": int(p[0]), **({"parentId": int(p[1])} if str(p[1]).isdecimal() else {}), "pos": [p[2], p[3]],
         "linkIds": through[str(p[0])]}
        for p in points
    ]  # fmt: skip
    return {"reroutes": reroutes, "linkExtensions": extensions}


def _lists(kept: object, key: str) -> Iterable[list[Any]]:
    found = kept.get(key) if isinstance(kept, Mapping) else None
    return [item for item in found if isinstance(item, list)] if isinstance(found, list) else []
