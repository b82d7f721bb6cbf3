"""Every struct of every layout against tables that no code of ours made, for both word sizes."""

import ctypes
from dataclasses import dataclass
from pathlib import Path

import pytest

from rkllmd.native.layouts import Layout
from rkllmd.native.rkllm import STRUCTS
from rkllmd.native.structs import Classes, Place, place

REFERENCE = Path(__file__).with_name("reference.txt")


@dataclass
class Row:
    struct: str
    layout: Layout
    sizes: dict[int, int]
    fields: dict[int, dict[str, Place]]


def rows() -> list[Row]:
    found: list[Row] = []
    current: list[Row] = []
    for line in REFERENCE.read_text().splitlines():
        words = line.split()
        if not words or words[0] == "#":
            continue
        if not line.startswith(" "):
            name, lp64, armhf, _, *labels = words
            current = [
                Row(name, layout, {8: int(lp64), 4: int(armhf)}, {8: {}, 4: {}})
                for layout in map(Layout.of_label, labels)
                if layout is not None
            ]
            assert len(current) == len(labels)
            found += current
        else:
            field, *numbers = words
            a, b, c, d = map(int, numbers)
            for row in current:
                row.fields[8][field] = Place(a, b)
                row.fields[4][field] = Place(c, d)
    return found


ROWS = rows()


each_layout = pytest.mark.parametrize("layout", Layout, ids=lambda layout: layout.label)


def of_layout(layout: Layout) -> list[Row]:
    return [row for row in ROWS if row.layout is layout]


@pytest.mark.parametrize("word", [4, 8])
@each_layout
def test_places_are_the_headers(layout: Layout, word: int) -> None:
    for row in of_layout(layout):
        placed = place(STRUCTS[row.struct], layout, word)
        assert placed.size == row.sizes[word], row.struct
        assert dict(placed.places) == row.fields[word], row.struct


@each_layout
def test_classes_of_this_machine_are_the_headers(layout: Layout) -> None:
    word = ctypes.sizeof(ctypes.c_void_p)
    for row in of_layout(layout):
        made = Classes(STRUCTS, layout)[row.struct]
        assert ctypes.sizeof(made) == row.sizes[word], row.struct
        assert {name: _place(made, name) for name in row.fields[word]} == row.fields[word]


def _place(made: type, dotted: str) -> Place:
    offset, size = 0, 0
    for name in dotted.split("."):
        descriptor = getattr(made, name)
        offset, size = offset + descriptor.offset, descriptor.size
        made = dict(field[:2] for field in getattr(made, "_fields_", ())).get(name, made)
    return Place(offset, size)


def test_reference_covers_every_struct_of_every_layout() -> None:
    unverified = {("RKLLMLoraAdapter", Layout.V1_3_1), ("RKLLMCrossAttnParam", Layout.V1_3_1)}
    expected = {
        (struct.name, layout)
        for struct in STRUCTS.values()
        for layout in Layout
        if layout >= struct.since
    }
    assert {(row.struct, row.layout) for row in ROWS} == expected - unverified


def test_labels_are_those_of_the_configuration() -> None:
    assert [layout.label for layout in Layout] == [
        "1.1", "1.2.0", "1.2.1b1", "1.2.1", "1.3.0", "1.3.1",
    ]  # fmt: skip
    assert all(Layout.of_label(layout.label) is layout for layout in Layout)
    assert Layout.of_label("1.2.9") is None
