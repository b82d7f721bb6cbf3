"""The package, a root to install it in, and machines that were booted from that root."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.systemd.machine import Machine, why_not

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build"
MINUTES = 60
NEXT_VERSION = "99.0"
ALWAYS = "RKLLMD_SYSTEMD_TESTS" in os.environ


def pytest_collection_modifyitems(items):
    """Give these tests the time that a root takes, and skip them where none can be booted.

    Where RKLLMD_SYSTEMD_TESTS is set they are never skipped.
    """
    reason = None if ALWAYS else why_not()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(10 * MINUTES))
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def build(folder, checkout=ROOT, umask=-1):
    """Build the package of a checkout into a folder."""
    command = [checkout / "tools" / "build-deb", folder]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, umask=umask)
    (package,) = folder.glob("*.deb")
    return package


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """A folder with the package as `rkllmd.deb`, and as `next.deb` with a higher version.

    What a build gives beside the package is in `built`.
    """
    folder = tmp_path_factory.mktemp("packages")
    package = build(folder / "built")
    shutil.copy(package, folder / "rkllmd.deb")
    inside = folder / "inside"
    subprocess.run(["dpkg-deb", "-R", package, inside], check=True)
    control = inside / "DEBIAN" / "control"
    lines = control.read_text().splitlines()
    lines = [f"Version: {NEXT_VERSION}" if one.startswith("Version:") else one for one in lines]
    control.write_text("\n".join(lines) + "\n")
    command = ["dpkg-deb", "-Znone", "-b", inside, folder / "next.deb"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(inside)
    return folder


def debian(suite, architecture=""):
    """A Debian root, by default of this machine's architecture, kept until its recipe changes."""
    recipe = Path(__file__).parent / "make-root"
    root = BUILD / f"root-{suite}{architecture}"
    made = root.with_suffix(".recipe")
    if not made.exists() or made.read_text() != recipe.read_text():
        shutil.rmtree(root, ignore_errors=True)
        root.parent.mkdir(exist_ok=True)
        subprocess.run([recipe, root, suite, *filter(None, [architecture])], check=True)
        made.write_text(recipe.read_text())
    return root


@pytest.fixture(scope="session")
def boot(packages, tmp_path_factory):
    """Boots a machine; the packages are in its /packages."""
    machines = []

    def boot_one(*arguments, suite="bookworm"):
        name = f"rkllmd-test-{os.getpid()}-{len(machines)}"
        log = tmp_path_factory.mktemp("boot") / "log"
        packages_there = f"--bind-ro={packages}:/packages"
        machine = Machine(name, debian(suite), log, packages_there, *arguments)
        machines.append(machine)
        return machine

    yield boot_one
    for machine in machines:
        machine.close()


@pytest.fixture(scope="module")
def board(boot):
    """A machine with the package installed."""
    machine = boot()
    machine.run("apt-get install -y -qq /packages/rkllmd.deb")
    yield machine
    machine.close()
