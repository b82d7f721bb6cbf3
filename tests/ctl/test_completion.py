"""Completion, tried in a real shell."""

import shutil
import subprocess

import pytest


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


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh_takes_the_script(ctl):
    script = "autoload -U compinit && compinit -u -D\n" + ctl.run("completion", "zsh")
    subprocess.run(["zsh", "-fc", script], check=True)


def test_zsh_is_made_from_the_same_table(ctl):
    assert ctl.run("completion", "zsh").startswith("autoload -U +X bashcompinit")
