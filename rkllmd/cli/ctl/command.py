"""What a command is: words, arguments and help as data, and what its function is handed."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rkllmd.cli.ctl.screen import Screen
from rkllmd.client import Client

Run = Callable[["Context"], int | None]
"""Runs a command; what it returns is the exit status, None being 0."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument or option, as argparse takes it."""

    names: tuple[str, ...]
    purpose: str
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """One command."""

    words: str
    """As typed: `model load`."""
    purpose: str
    """In one line."""
    run: str
    """`file:function`, below this folder."""
    example: str
    """What comes behind `rkllmctl`."""
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """What a command works with."""

    client: Client
    options: argparse.Namespace
    screen: Screen


def argument(name: str, purpose: str, **more: Any) -> Argument:
    """An argument that is told by its place."""
    return Argument((name,), purpose, more)


def option(name: str, purpose: str, **more: Any) -> Argument:
    """An argument that is told by its name."""
    return Argument((name,), purpose, more)


def number(
    kind: type[int] | type[float], least: float, most: float = 1_000_000
) -> Callable[[str], float]:
    """What makes a number of what was typed, and says which ones it takes."""

    def read(typed: str) -> float:
        try:
            value = kind(typed)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(
                f"found {typed!r}, allowed: {what} from {least} to {most}"
            )
        return value

    return read


def ending(suffix: str) -> Callable[[str], str]:
    """What takes the names of files of one kind only."""

    def read(typed: str) -> str:
        if not typed.endswith(suffix):
            raise argparse.ArgumentTypeError(f"found {typed!r}, allowed: a name with {suffix}")
        return typed

    return read


def switch(name: str, purpose: str) -> Argument:
    """An option without a value."""
    return Argument((name,), purpose, {"action": "store_true"})
