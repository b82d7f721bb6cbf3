"""The first hour with rkllmd as a script, on a booted Debian with nothing of it installed.

What is typed and what comes back is written as it happens. Nothing is made up, and nothing is left
out but colours and what a terminal writes over.
"""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Protocol, Self

PROMPT_FILE = "/etc/rkllmd/config/system.txt"
QUESTION = "What is your name?"
PLOT = "bench.svg"
SECONDS_MAX = 120
ENDS = re.compile(r": (built|verified|broken|failed)")
"""What a cache has come to."""

_WRITTEN_OVER = re.compile(r"(?m)^.*\r\x1b\[K|^\(Reading database \.\.\.( \d+%)?\n")
_STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x07|\r")


class Machine(Protocol):
    """What this needs of `tests.systemd.machine.Machine`."""

    leader: int | None

    def run(self, command: str) -> str:
        """What a command prints."""

    def start(self, command: str) -> "subprocess.Popen[str]":
        """A command that goes on."""


class Hour:
    """Collects the transcript."""

    def __init__(self, machine: Machine, on_text: Callable[[str], object]) -> None:
        self._machine, self._on_text = machine, on_text
        self.text = ""

    def go(self) -> None:
        """Live through it."""
        self.say("Install it. The service starts, builds the prompt cache of the bundled model, and"
                 " proves it.")  # fmt: skip
        self.do("apt-get install -y -qq -o Dpkg::Use-Pty=0 ./rkllmd.deb")
        self.do("systemctl is-active rkllmd")
        self.say("Is all well? On a board this names driver, runtime, clocks and groups as well.")
        self.do("rkllmctl doctor")
        self.do("rkllmctl status")
        self.say("Talk to it.")
        self.chat(QUESTION, "The wifi password, please.", "/stats")
        self.say("Change the system prompt while somebody watches: it is called Juno from now on.")
        self.edit()
        self.chat(QUESTION, "/stats")
        self.say("Measure it.")
        self.do(f"rkllmctl bench --runs 5 --plot {PLOT}")
        self.say("![what a user waits for](images/first-hour.svg)")
        self.say("And look on.")
        self.do("rkllmctl top --count 1")

    def say(self, words: str) -> None:
        """A line between the commands."""
        self._tell(f"{words}\n\n")

    def do(self, command: str) -> None:
        """A command, with what it prints."""
        printed = self._machine.run(f"cd /root && {command}")
        self.show(f"# {command}\n" + printed)

    def show(self, text: str) -> None:
        """What was on the screen."""
        clean = _STEERING.sub("", _WRITTEN_OVER.sub("", text.strip()))
        lines = (line.rstrip() for line in clean.split("\n"))
        self._tell("```console\n" + "\n".join(lines) + "\n```\n\n")

    def _tell(self, text: str) -> None:
        self.text += text
        self._on_text(text)

    def chat(self, *typed: str) -> None:
        """A conversation, on a terminal."""
        with Terminal(self._machine, "rkllmctl chat") as terminal:
            for line in typed:
                terminal.until("> ")
                terminal.type(f"{line}\n")
            terminal.until("> ")
            terminal.type("\x04")
            terminal.end()
        self.show(f"# rkllmctl chat\n{terminal.seen}")

    def edit(self) -> None:
        """An edit of the system prompt, and the news of it."""
        edit = f"sed -i s/Nova/Juno/ {PROMPT_FILE}"
        seen = ["# rkllmctl watch state cache &", f"# {edit}"]
        with self._machine.start("exec rkllmctl watch state cache") as watching:
            assert watching.stdout is not None
            seen.insert(1, watching.stdout.readline())
            self._machine.run(edit)
            for line in watching.stdout:
                seen.append(line)
                if ENDS.search(line):
                    break
            watching.terminate()
        self.show("\n".join(line.rstrip() for line in seen))


class Terminal:
    """A command on a terminal of the machine."""

    def __init__(self, machine: Machine, command: str) -> None:
        self.seen = ""
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            ["nsenter", "-t", str(machine.leader), "-a", "/bin/sh", "-c", command],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
                 "TERM": "xterm", "COLUMNS": "100"},
        )  # fmt: skip
        os.close(slave)
        self._read_to = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def type(self, text: str) -> None:
        """What a person types."""
        os.write(self._master, text.encode())

    def until(self, word: str) -> None:
        """Read until a word is on the screen, behind what was waited for before."""
        while (place := self.seen.find(word, self._read_to)) < 0:
            self._read()
        self._read_to = place + len(word)

    def end(self) -> None:
        """Read to the end."""
        try:
            while True:
                self._read()
        except OSError:  # nobody has the terminal any more
            pass

    def _read(self) -> None:
        ready, _, _ = select.select([self._master], [], [], SECONDS_MAX)
        if not ready:
            raise TimeoutError(f"nothing more came:\n{self.seen}")
        self.seen += os.read(self._master, 65536).decode(errors="replace")


def page(machine: Machine, where: str, on_text: Callable[[str], object]) -> str:
    """The page, of a machine that has the package in /root; `on_text` hears of it meanwhile."""
    hour = Hour(machine, on_text)
    hour.go()
    today = time.strftime("%Y-%m-%d", time.gmtime())
    head = f"""\
# The first hour

Made by `tools/first-hour` from one run in a booted Debian 12 container on {where},
{today}, with the bundled model. Figures are of that machine, which is no board and had
other things to do.
"""
    return f"{head}\n{hour.text.rstrip()}\n"


def commands(text: str) -> list[str]:
    """What is typed in a page."""
    return re.findall(r"(?m)^# (\S.*)$", "".join(_consoles(text)))


def _consoles(text: str) -> Iterator[str]:
    yield from re.findall(r"(?s)```console\n(.*?)```", text)
