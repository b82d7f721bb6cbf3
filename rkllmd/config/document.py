"""A YAML file as plain data that remembers where each part of it stands.

Stricter than YAML, because what a person writes has to mean what that person sees:

- `true`, `false`, `null`, `~`, decimal integers and decimal fractions have a type; every other
  plain word is text, `no`, `on`, `2024-01-01` and `12:30` too. A number with a leading zero is
  text, so that `0660` reaches the one setting that wants it as it was written.
- Keys are text. The same key twice is a problem, not the later one's victory.
- Anchors, aliases, merge keys, tags, NUL, half surrogates and a second document are refused. So no
  file means more than it shows, and none grows while it is read.
- A file has at most `BYTES_MAX` bytes (which take about a second) and `DEPTH_MAX` levels, and is
  UTF-8.

Whatever is wrong becomes one `ConfigError`, a line for each problem: `FILE:LINE:COLUMN: …`.
"""

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from rkllmd import shape

BYTES_MAX = 1 << 17
DEPTH_MAX = 32
PROBLEMS_MAX = 20

T = TypeVar("T")

_TYPES: Sequence[tuple[re.Pattern[str], Any]] = (
    (re.compile(r"(null|~|)", re.ASCII), lambda _: None),
    (re.compile(r"true|false", re.ASCII), lambda word: word == "true"),
    (re.compile(r"[-+]?(0|[1-9][0-9]{0,99})", re.ASCII), int),
    (re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", re.ASCII), float),
    (re.compile(r"[-+]?(0|[1-9][0-9]*)[eE][-+]?[0-9]+", re.ASCII), float),
)
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")


class ConfigError(Exception):
    """What an administrator wrote cannot be used; `problems` has a line for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Document:
    """The data, and for every place in it `FILE:LINE:COLUMN` or what else names its origin."""

    data: Any
    origins: Mapping[shape.Place, str]

    def origin(self, place: shape.Place) -> str:
        """Where a place stands; of one that is not there, where it would belong."""
        while place not in self.origins and place:
            place = place[:-1]
        return self.origins[place]


def read_text(path: Path, bytes_max: int = BYTES_MAX) -> str:
    """A file's text. Never waits, whatever kind of file it is."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigError([f"{path}: cannot be read: it is no regular file"])
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(bytes_max + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    if len(content) > bytes_max:
        raise ConfigError([f"{path}: cannot be read: it is longer than {bytes_max} bytes"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: found bytes that are no UTF-8"]) from error


def parse(text: str, name: str) -> Document:
    """The document that a text is; `name` says in problems whose text it is."""
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
        builder = _Builder(name)
        data = builder.build(root, ()) if root else None
        return Document(data, {(): name} | builder.origins)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError([f"{_where(name, mark)}: {error.problem or error.context}"]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = f"U+{ord(text[error.position]):04X}"
        raise ConfigError([f"{name}:{line}: found the character {character}"]) from error


def fit(kind: type[T], document: Document) -> T:
    """The dataclass that a document describes, or every reason why it does not."""
    data = {} if document.data is None else document.data
    problems: list[str] = []
    while len(problems) < PROBLEMS_MAX:
        try:
            settings = shape.read(kind, data)
        except shape.ShapeError as error:
            problems.append(f"{document.origin(error.place)}: {error}")
            if not error.place:
                break
            # Look for further problems in what is left.
            data = _without(data, error.place)
        else:
            if problems:
                break
            return settings
    raise ConfigError(problems)


def _without(data: Any, place: shape.Place) -> Any:
    """The data without the member that a place names, or without the list that it is in."""
    head, *rest = place
    if rest and isinstance(rest[0], str) and rest[0] in data[head]:
        return data | {head: _without(data[head], tuple(rest))}
    return {key: value for key, value in data.items() if key != head}


def _where(name: str, mark: Any) -> str:
    return f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name


class _Loader(yaml.SafeLoader):
    """Composes nodes only; refuses what could make a short file long or deep."""

    _level = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        found = (
            "an anchor or alias"
            if event.anchor is not None
            else "a tag"
            if getattr(event, "tag", None) is not None
            else f"more than {DEPTH_MAX} levels"
            if self._level == DEPTH_MAX
            else None
        )
        if found:
            raise yaml.MarkedYAMLError(
                problem=f"found {found}, allowed: plain values", problem_mark=event.start_mark
            )
        self._level += 1
        node = super().compose_node(parent, index)
        self._level -= 1
        return node


class _Builder:
    def __init__(self, name: str) -> None:
        self._name = name
        self.origins: dict[shape.Place, str] = {}

    def build(self, node: yaml.Node, place: shape.Place) -> Any:
        self.origins.setdefault(place, _where(self._name, node.start_mark))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*place, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, place: shape.Place) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._problem(key_node, "found a list or an object as a key, allowed: a text")
            key, here = self._text(key_node), (*place, key_node.value)
            if key in data:
                raise self._problem(
                    key_node,
                    f"{shape.dotted(here)}: found again, allowed: once; "
                    f"the first is at {self.origins[here]}",
                )
            self.origins[here] = _where(self._name, key_node.start_mark)
            data[key] = self.build(value_node, here)
        return data

    def _scalar(self, node: yaml.Node) -> Any:
        text = self._text(node)
        if isinstance(node, yaml.ScalarNode) and node.style is None:
            for pattern, convert in _TYPES:
                if pattern.fullmatch(text):
                    return convert(text)
        return text

    def _text(self, node: yaml.Node) -> str:
        text = str(node.value)
        if _UNWRITABLE.search(text):
            raise self._problem(node, "found NUL or half a surrogate pair, allowed: characters")
        return text

    def _problem(self, node: yaml.Node, text: str) -> yaml.MarkedYAMLError:
        return yaml.MarkedYAMLError(problem=text, problem_mark=node.start_mark)
