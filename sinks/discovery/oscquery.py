"""OSCQuery: the address space of a run as JSON over HTTP, without sockets.

The path of a request is an OSC address. Without a query the answer is the node with all below it;
`?VALUE` and the like are one attribute of the node; `?HOST_INFO` describes the server. There is no
WebSocket: HOST_INFO has LISTEN and PATH_CHANGED as false.

| status | |
|---|---|
| 200 | attributes; `{}` where the node has none of that name, or no value yet |
| 204 | VALUE of a node that cannot be read, or an attribute that is not kept here |
| 400 | no attribute of OSCQuery |
| 404 | no such address |

The protocol is the OSCQuery proposal (Vidvox, third revision). For attributes that a server
does not support it names both 204 and 400.
"""

from __future__ import annotations

from typing import Any

import msgspec

from configs.address import EVERYWHERE, endpoint
from configs.schema import Config
from sinks.discovery.osc_tree import READ, NewestValues, OscNode, OscTree
from sinks.exporter.answers import HEADERS, JSON, Answer, text_answer
from sinks.exporter.hosts import NETWORKS
from sinks.exporter.routes import RouteTable

ATTRIBUTES = ("FULL_PATH", "CONTENTS", "TYPE", "ACCESS", "VALUE", "RANGE", "DESCRIPTION")
NOT_KEPT = ("TAGS", "EXTENDED_TYPE", "UNIT", "CRITICAL", "CLIPMODE", "OVERLOADS", "HTML")
"""Attributes of the proposal that no node has here."""
_EXTENSIONS = ("ACCESS", "VALUE", "RANGE", "DESCRIPTION")
_WITHOUT = ("LISTEN", "PATH_CHANGED")
"""Extensions that need a WebSocket."""
_MAX_QUERY = 64


class OscQueryRoutes(RouteTable):
    """The pages of OSCQuery.

    Parameters
    ----------
    config : Config
    name : str
        Of the server, for HOST_INFO.
    newest : callable
        Returns the newest values by destination and address.
    """

    shown = "/", "OSCQuery"
    part = "discovery"
    remedy = NETWORKS

    def __init__(self, config: Config, name: str, newest: NewestValues) -> None:
        super().__init__()
        self._tree = OscTree(config, newest)
        self._host = {
            "NAME": name,
            "EXTENSIONS": dict.fromkeys(_EXTENSIONS, True) | dict.fromkeys(_WITHOUT, False),
        } | _osc_place(self._tree)

    def answer(self, method: str, path: str, query: str, accept: str = "") -> Answer:
        """Return the response, that of HEAD with its body; never raises."""
        status, headers, body = self._answer(method, path, query[: _MAX_QUERY + 1])
        return status, HEADERS | headers, body

    def _answer(self, method: str, path: str, query: str) -> Answer:
        if method not in ("GET", "HEAD"):
            return text_answer(405, "Only GET and HEAD are answered.", Allow="GET, HEAD")
        attribute = query.removesuffix("=")
        if attribute == "HOST_INFO":
            return _json(self._host)
        node = self._tree.find(path)
        if node is None:
            return text_answer(404, "There is no such address.")
        if not attribute:
            return _json(self._tree.described(node))
        if attribute in ATTRIBUTES:
            return self._attribute(node, attribute)
        if attribute in NOT_KEPT:
            return 204, {}, b""
        return text_answer(400, f"One attribute may be given: HOST_INFO, {', '.join(ATTRIBUTES)}.")

    def _attribute(self, node: OscNode, attribute: str) -> Answer:
        if attribute == "VALUE" and not node.access & READ:
            return 204, {}, b""
        found = self._tree.described(node)
        return _json({attribute: found[attribute]} if attribute in found else {})


def _json(found: dict[str, Any]) -> Answer:
    return 200, {"Content-Type": JSON}, msgspec.json.encode(found)


def _osc_place(tree: OscTree) -> dict[str, str | int]:
    """Return where the described input receives; without one there is no OSC server."""
    if tree.input is None:
        return {}
    where = endpoint(tree.input.addr)
    found: dict[str, str | int] = {
        "OSC_PORT": where.port,
        "OSC_TRANSPORT": where.transport.upper(),
    }
    if where.host not in (EVERYWHERE, "::"):
        found["OSC_IP"] = where.host
    return found
