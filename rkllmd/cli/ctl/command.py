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


def switch(name: str, purpose: str) -> Argument:
    """An option without a value."""
    return Argument((name,), purpose, {"action": "store_true"})
