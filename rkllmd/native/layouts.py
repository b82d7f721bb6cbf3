"""The binary layouts that the vendor's releases have had, oldest first, so that they compare."""

from enum import IntEnum
from typing import Self


class Layout(IntEnum):
    """One shape of all structs and functions; the name is the release that began it."""

    V1_1 = 0
    V1_2_0 = 1
    V1_2_1B1 = 2
    V1_2_1 = 3
    V1_3_0 = 4
    V1_3_1 = 5

    @property
    def label(self) -> str:
        """The name that the configuration uses, as in `1.2.1b1`."""
        return self.name[1:].replace("_", ".").lower()

    @classmethod
    def of_label(cls, label: str) -> Self | None:
        """The layout of that name, None where there is none."""
        return next((layout for layout in cls if layout.label == label), None)
