"""The package as it is built."""

import hashlib
import subprocess

from tests.systemd.conftest import BUILD, ROOT


def test_lintian_has_nothing_to_say(packages):
    (changes,) = (BUILD / "deb").glob("*.changes")
    command = ["lintian", "--allow-root", "--display-info", "--pedantic", "--tag-display-limit=0"]
    done = subprocess.run([*command, changes], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_second_build_gives_the_same_package(packages):
    subprocess.run([ROOT / "tools" / "build-deb"], check=True, stdout=subprocess.DEVNULL)
    (again,) = (BUILD / "deb").glob("*.deb")
    digests = {
        hashlib.sha256(file.read_bytes()).hexdigest() for file in (again, packages / "rkllmd.deb")
    }
    assert len(digests) == 1
