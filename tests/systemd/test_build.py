"""The package as it is built."""

import subprocess

from tests.systemd.conftest import ROOT, build


def test_lintian_has_nothing_to_say(packages):
    (changes,) = (packages / "built").glob("*.changes")
    command = ["lintian", "--allow-root", "--display-info", "--pedantic", "--tag-display-limit=0"]
    done = subprocess.run([*command, changes], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_another_checkout_of_another_user_gives_the_same_package(packages, tmp_path):
    """In another folder, later, with other rights and dates of the files, and another umask."""
    other = tmp_path / "other"
    other.mkdir()
    script = f"umask 077; git ls-files -z | xargs -0 cp --parents --no-dereference -t {other}"
    subprocess.run(["/bin/sh", "-ec", script], cwd=ROOT, check=True)
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=other, check=True)
    again = build(tmp_path / "built", other, 0o077)
    assert again.read_bytes() == (packages / "rkllmd.deb").read_bytes()
