"""Which path is served by which function, from which body. Pure but for the functions' names.

The table is read twice: by the server, and by `openapi`, which describes it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from rkllmd.errors import Code, RequestError

Endpoint = Callable[..., Awaitable[web.StreamResponse]]
"""Takes the exchange, and the parsed body where there is one."""


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint."""

    method: str
    path: str
    """With `{name}` for a part that is a parameter."""
    endpoint: Endpoint
    answer: Any
    """The shape of its answer in JSON, or `str` where that is text."""
    body: type | None = None
    stream: tuple[str, Any] | None = None
    """The content type of an answer that is written piece by piece, and the shape of a piece."""
    errors: AbstractSet[Code] = frozenset()
    """What can be wrong beyond what can be wrong with every endpoint of its kind (`openapi`)."""
    status: int = 200
    query: Mapping[str, str] | None = None
    """Parameters behind the path, and what they mean."""
    open_to_all: bool = False
    """Answered without a key."""

    @property
    def name(self) -> str:
        """For the log and the metrics."""
        return f"{self.method} {self.path}"

    @property
    def summary(self) -> str:
        """The endpoint's first line."""
        return (self.endpoint.__doc__ or "").partition("\n")[0]

    def match(self, parts: Sequence[str]) -> dict[str, str] | None:
        """The parameters when a path's parts fit."""
        own = _parts(self.path)
        if len(own) != len(parts):
            return None
        found = {}
        for wanted, part in zip(own, parts, strict=True):
            if wanted.startswith("{"):
                found[wanted[1:-1]] = unquote(part)
            elif wanted != part:
                return None
        return found


def find(routes: Sequence[Route], method: str, path: str) -> tuple[Route, dict[str, str]]:
    """The route of a request, or the error that there is none."""
    wanted, parts = "GET" if method == "HEAD" else method, _parts(path)
    matching = [(route, found) for route in routes if (found := route.match(parts)) is not None]
    for route, found in matching:
        if route.method == wanted:
            return route, found
    if matching:
        closest = min((route.path for route, _ in matching), key=lambda path: path.count("{"))
        methods = sorted({route.method for route, _ in matching if route.path == closest})
        raise RequestError(
            Code.UNKNOWN_OP, f"{path} takes {', '.join(methods)}, not {method}", methods=methods
        )
    raise RequestError(Code.UNKNOWN_OP, f"there is no {path}; /openapi.json lists what there is")


def _parts(path: str) -> list[str]:
    return path.strip("/").split("/")
