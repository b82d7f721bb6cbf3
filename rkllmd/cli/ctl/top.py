"""top: what the daemon and the board do, looked at again and again; on a terminal in one place."""

import dataclasses
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rkllmd.board.parse import Board
from rkllmd.board.reading import read_board
from rkllmd.cli.ctl.command import Context
from rkllmd.cli.ctl.screen import size
from rkllmd.cli.ctl.status import show_status

HOME_AND_CLEAR = "\x1b[H\x1b[J"


def top(context: Context) -> None:
    """Look until interrupted, or as often as was asked for."""
    looks = 0
    while True:
        status, board = context.client.call("status"), read_board(Path("/"))
        if context.screen.as_json:
            context.screen.json({"status": status, "board": dataclasses.asdict(board)})
        else:
            _show(context, status, board)
        looks += 1
        if looks == context.options.count:
            return
        time.sleep(context.options.interval)


def _show(context: Context, status: Mapping[str, Any], board: Board) -> None:
    if context.screen.terminal:
        sys.stdout.write(HOME_AND_CLEAR)
    show_status(context.screen, status)
    context.screen.line()
    for line in board_lines(board):
        context.screen.line(line)


def board_lines(board: Board) -> list[str]:
    """The board, a line for each kind of reading that there is."""
    lines = {
        "NPU": "  ".join(f"core {n}: {load} %" for n, load in enumerate(board.npu_load)),
        "clocks": "  ".join(
            f"{clock.name}: {clock.hertz // 1_000_000} MHz" for clock in board.clocks if clock.hertz
        ),
        "temperatures": "  ".join(f"{t.name}: {t.celsius:.0f} °C" for t in board.temperatures),
        "memory": ""
        if board.memory is None
        else f"{size(board.memory.available_bytes)} of {size(board.memory.total_bytes)} available",
    }
    return [f"{name:<13} {text}" for name, text in lines.items() if text]
