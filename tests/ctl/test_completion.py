"""Completion, tried in a real shell."""

import shutil
import subprocess

import pytest

from tests.ctl.terminal import Terminal


def completed(script, *words):
    quoted = " ".join(f"'{word}'" for word in words)
    code = (
        f"{script}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _rkllmctl\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", code], capture_output=True, text=True, check=True, cwd="/proc/self"
    )
    return set(done.stdout.split())


def test_bash_completes_commands_options_and_choices(ctl):
    script = ctl.run("completion", "bash")
    assert ctl.json("completion", "bash")["script"] == script
    assert {"status", "model", "cache"} <= completed(script, "rkllmctl", "")
    assert completed(script, "rkllmctl", "st") == {"status"}
    assert completed(script, "rkllmctl", "model", "") >= {"list", "show", "verify"}
    assert completed(script, "rkllmctl", "cache", "create", "tiny", "--ov") == {"--overwrite"}
    assert completed(script, "rkllmctl", "log-level", "d") == {"debug"}
    assert completed(script, "rkllmctl", "--json", "session", "r") == {"reset"}


BASH = ["bash", "--norc", "-i"]
BASH_KEYS = """\
show() { printf '%s' "$READLINE_LINE" >"$OUT.new"; mv "$OUT.new" "$OUT"; }
bind -x '"\\C-o": show'
"""
ZSH = ["zsh", "-f", "-i"]
ZSH_KEYS = """\
autoload -U compinit && compinit -u -D
show() { printf '%s' "$BUFFER" >"$OUT.new"; mv "$OUT.new" "$OUT" }
zle -N show; bindkey '^O' show
"""


@pytest.mark.parametrize(("shell", "keys"), [(BASH, BASH_KEYS), (ZSH, ZSH_KEYS)])
@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("rkllmctl mod", "rkllmctl model "),
        ("rkllmctl cache crea", "rkllmctl cache create "),
        ("rkllmctl --json log-level war", "rkllmctl --json log-level warning "),
        ("rkllmctl bench --pl", "rkllmctl bench --plot "),
    ],
)
def test_the_tabulator_key(shell, keys, typed, line, ctl, tmp_path):
    if shutil.which(shell[0]) is None:
        pytest.skip(f"there is no {shell[0]}")
    (tmp_path / "rc").write_text(keys + ctl.run("completion", shell[0]))
    out = tmp_path / "line"
    environment = {**ctl.environment, "TERM": "xterm-256color", "OUT": str(out), "PS1": "% "}
    terminal = Terminal(shell, environment)
    try:
        terminal.type(f". {tmp_path}/rc && echo rea''dy\n")
        terminal.until("ready")
        terminal.type(f"{typed}\t")
        terminal.until(line.split()[-1])
        terminal.type("\x0f")
        terminal.until_so(out.exists)
    finally:
        terminal.close()
    assert out.read_text() == line
