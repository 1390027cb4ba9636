"""Routing: from a method and a path to an operation or a page."""

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from herdbook.errors import MethodNotAllowed, NoRoute, quoted

T = TypeVar("T")


class HasRoute(Protocol):
    """An operation or a page."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str: ...


class _Node(Generic[T]):
    def __init__(self) -> None:
        self.parts: dict[str, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        self.methods: dict[str, T] = {}


class Router(Generic[T]):
    """Finds the target of an operation or a page. A path segment in braces matches any value."""

    def __init__(self, routes: Iterable[tuple[HasRoute, T]]) -> None:
        self._root: _Node[T] = _Node()
        for operation, target in routes:
            node = self._root
            for part in operation.path.split("/")[1:]:
                if part.startswith("{"):
                    node.parameter = node.parameter or _Node()
                    node = node.parameter
                else:
                    node = node.parts.setdefault(part, _Node())
            assert operation.method not in node.methods, f"{operation.method} {operation.path} is there twice"
            node.methods[operation.method] = target

    def find(self, method: str, parts: Sequence[str], path: str) -> tuple[T, list[str]]:
        """Return the target for a method and the segments of a path, with the path parameters. `path` is for the refusal.

        HEAD is routed like GET (RFC 9110, section 9.3.2). Refusals: NoRoute, MethodNotAllowed.
        """
        node: _Node[T] | None = self._root
        parameters: list[str] = []
        for part in parts:
            assert node is not None
            following = node.parts.get(part)
            if following is None and part and (following := node.parameter) is not None:
                parameters.append(part)
            node = following
            if node is None:
                break
        if node is None or not node.methods:
            raise NoRoute(_missing(path))
        target = node.methods.get("GET" if method == "HEAD" else method)
        if target is None:
            raise MethodNotAllowed(sorted({*node.methods, "HEAD"} if "GET" in node.methods else node.methods))
        return target, parameters


def _missing(path: str) -> str:
    message = "There is no operation at this path."
    if path != "/" and (path.endswith("/") or "//" in path):
        whole = "/" + "/".join(part for part in path.split("/") if part)
        return f"{message} Paths have no empty parts and no slash at their end: send `{quoted(whole)}`."
    return f"{message} See `/docs` for the list of operations."
