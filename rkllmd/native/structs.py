"""Sizes, offsets and ctypes classes of C structs that are told as data.

Both come from the same data: `place` computes with any word size, which is how an x86 machine can
test what an armhf board will do, and `Classes` makes what this machine's library is called with.
The rules are those of AAPCS and of AAPCS64, the same for everything the header uses: a member
begins at a multiple of its own alignment, a struct is as aligned as its most aligned member.
"""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from rkllmd.native.layouts import Layout

Word = Literal[4, 8]

SIZES = {
    "int8_t": 1, "uint8_t": 1, "bool": 1, "int": 4, "int32_t": 4, "uint32_t": 4, "float": 4,
    "LLMCallState": 4, "RKLLMInputType": 4, "RKLLMInferMode": 4,
}  # fmt: skip
"""Types of one size everywhere; `size_t` and every pointer have a word's."""

SCALARS: Mapping[str, Any] = {
    "int8_t": ctypes.c_int8,
    "uint8_t": ctypes.c_uint8,
    "bool": ctypes.c_bool,
    "int": ctypes.c_int,
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "float": ctypes.c_float,
    "size_t": ctypes.c_size_t,
    "LLMCallState": ctypes.c_int,
    "RKLLMInputType": ctypes.c_int,
    "RKLLMInferMode": ctypes.c_int,
    "char*": ctypes.c_char_p,
    "const char*": ctypes.c_char_p,
    "void*": ctypes.c_void_p,
    "float*": ctypes.POINTER(ctypes.c_float),
    "const float*": ctypes.POINTER(ctypes.c_float),
    "int32_t*": ctypes.POINTER(ctypes.c_int32),
    "int*": ctypes.POINTER(ctypes.c_int),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One member: its C type as the header spells it, or a struct or union of its own."""

    type: "str | Struct"
    name: str
    count: int = 1
    since: Layout = Layout.V1_1
    before: Layout | None = None


@dataclass(frozen=True, slots=True)
class Struct:
    """A struct or a union with the members of every layout."""

    name: str
    fields: tuple[Field, ...]
    since: Layout = Layout.V1_1
    union: bool = False

    def members(self, layout: Layout) -> tuple[Field, ...]:
        """The members that a layout has, in order."""
        return tuple(field for field in self.fields if _has(field.since, field.before, layout))


def _has(since: Layout, before: Layout | None, layout: Layout) -> bool:
    return since <= layout and (before is None or layout < before)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something lies."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Placement:
    """A struct's size and alignment, and its members' places."""

    size: int
    align: int
    places: Mapping[str, Place]


@cache
def place(struct: Struct, layout: Layout, word: Word) -> Placement:
    """Where everything lies for a word size.

    Members of unnamed structs are listed too, under `image.image_embed`; those of an unnamed member
    count as the struct's own.
    """
    places: dict[str, Place] = {}
    end, widest = 0, 1
    for field in struct.members(layout):
        inner = _placed(field.type, layout, word)
        start = 0 if struct.union else _rounded_up(end, inner.align)
        end = max(end, start + inner.size * field.count)
        widest = max(widest, inner.align)
        if field.name:
            places[field.name] = Place(start, inner.size * field.count)
        if isinstance(field.type, Struct) and not field.type.name:
            prefix = f"{field.name}." if field.name else ""
            for name, inside in inner.places.items():
                places[prefix + name] = Place(start + inside.offset, inside.size)
    return Placement(_rounded_up(end, widest), widest, places)


def _placed(type_: str | Struct, layout: Layout, word: Word) -> Placement:
    if isinstance(type_, Struct):
        return place(type_, layout, word)
    size = _size(type_, word)
    return Placement(size, size, {})


def _rounded_up(number: int, step: int) -> int:
    return -(-number // step) * step


def _size(type_: str, word: Word) -> int:
    if type_.endswith(("*", "Callback")) or type_ == "size_t":
        return word
    return SIZES[type_]


class Classes:
    """The ctypes classes of one layout, made on demand: `classes["RKLLMInput"]`."""

    def __init__(self, structs: Mapping[str, Struct], layout: Layout) -> None:
        self._structs = structs
        self._layout = layout
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """A struct's class."""
        if name not in self._made:
            self._made[name] = self._make(self._structs[name])
        return self._made[name]

    def type(self, spelled: str) -> Any:
        """The ctypes type of a C type as the header spells it."""
        if spelled in SCALARS:
            return SCALARS[spelled]
        if spelled.endswith("Callback"):
            return ctypes.c_void_p
        if spelled.endswith("*"):
            return ctypes.POINTER(self[spelled.removesuffix("*")])
        return self[spelled]

    def _make(self, struct: Struct) -> Any:
        base = ctypes.Union if struct.union else ctypes.Structure
        members = [
            (field.name or "_", self._member(field)) for field in struct.members(self._layout)
        ]
        anonymous = ("_",) if any(name == "_" for name, _ in members) else ()
        return type(struct.name or "_", (base,), {"_anonymous_": anonymous, "_fields_": members})

    def _member(self, field: Field) -> Any:
        if isinstance(field.type, str):
            made = self.type(field.type)
        else:
            made = self[field.type.name] if field.type.name else self._make(field.type)
        return made if field.count == 1 else made * field.count
