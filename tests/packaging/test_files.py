"""What the package's files say, against what the program is; nothing is built or installed."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

import rkllmd
from rkllmd.cli import daemon
from rkllmd.cli.ctl import program
from rkllmd.client import DEFAULT_SOCKET
from rkllmd.config.loader import load
from rkllmd.config.settings import Config
from rkllmd.service.sockets import HTTP, LINES, WYOMING

ROOT = Path(__file__).parents[2]
PAGES = {"rkllmd.8.md": daemon._parser, "rkllmctl.1.md": program.parser}


def value(unit, key):
    """The only value of a key in a unit."""
    (found,) = re.findall(rf"^{key}=(.*)$", (ROOT / "systemd" / unit).read_text(), re.MULTILINE)
    return found


def config_doc(option):
    """What tools/config-doc prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools/config-doc", option],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def words_of(parser):
    """Every long option of a parser, and its commands."""
    for action in parser._actions:
        yield from (option for option in action.option_strings if option.startswith("--"))
        yield from action.choices if isinstance(action.choices, dict) else ()


def test_the_changelog_has_this_version():
    assert (ROOT / "debian/changelog").read_text().startswith(f"rkllmd ({rkllmd.__version__})")


def test_the_installed_configuration_has_the_directories_of_the_unit(tmp_path):
    file = tmp_path / "rkllmd.yaml"
    file.write_text(config_doc("--installed"))
    paths = load(file).config.paths
    state, models = value("rkllmd.service", "StateDirectory").split()
    assert paths.models[0] == f"/var/lib/{models}"
    assert paths.cache == f"/var/cache/{value('rkllmd.service', 'CacheDirectory')}"
    assert paths.runtime == f"/run/{value('rkllmd.service', 'RuntimeDirectory')}"
    configuration = f"/etc/{value('rkllmd.service', 'ConfigurationDirectory')}"
    assert Path(paths.prompts).parent == Path(configuration)
    tmpfiles = (ROOT / "systemd/rkllmd.tmpfiles").read_text()
    made = set(re.findall(r"^d (\S+)", tmpfiles, re.MULTILINE))
    assert made == {f"/var/lib/{state}", paths.models[0], paths.cache, paths.runtime}
    assert set(re.findall(r"^(\S+) etc/rkllmd$", install(), re.MULTILINE)) == {
        "build/package/rkllmd.yaml", f"etc/{Path(paths.prompts).name}",
    }  # fmt: skip


def test_the_sockets_are_those_that_clients_and_the_daemon_know():
    http = Config().http
    assert value("rkllmd.socket", "FileDescriptorName") == LINES
    assert value("rkllmd-http.socket", "FileDescriptorName") == HTTP
    assert value("rkllmd-http.socket", "SocketMode") == http.mode
    unit = (ROOT / "systemd/rkllmd-http.socket").read_text()
    assert re.findall(r"^ListenStream=(.*)$", unit, re.MULTILINE) == [
        f"/run/rkllmd/{http.path}", f"{http.host}:{http.port}",
    ]  # fmt: skip
    wyoming = Config().wyoming
    assert value("rkllmd-wyoming.socket", "FileDescriptorName") == WYOMING
    assert value("rkllmd-wyoming.socket", "SocketMode") == wyoming.mode
    assert value("rkllmd-wyoming.socket", "ListenStream") == f"/run/rkllmd/{wyoming.path}"
    assert wyoming.port == 0, "TCP is for those who ask for it"
    assert value("rkllmd.socket", "ListenStream") == DEFAULT_SOCKET
    assert value("rkllmd.socket", "SocketMode") == Config().socket.mode


def test_every_socket_is_handed_to_the_service():
    sockets = {path.name for path in (ROOT / "systemd").glob("*.socket")}
    assert set(value("rkllmd.service", "Sockets").split()) == sockets
    assert all(value(name, "Service") == "rkllmd.service" for name in sockets - {"rkllmd.socket"})


def test_avahi_tells_of_the_port_that_the_texts_name():
    path = "systemd/avahi/rkllmd-wyoming.service"
    assert f"{path} usr/share/doc/rkllmd/examples" in install()
    service = ElementTree.parse(ROOT / path).getroot().find("service")
    assert service.findtext("type") == "_wyoming._tcp"
    port = service.findtext("port")
    for text in ("systemd/rkllmd-wyoming.socket", "docs/man/rkllmd.8.md", "docs/wyoming.md"):
        assert f"ListenStream={port}" in (ROOT / text).read_text()


def test_the_unit_waits_longer_than_the_daemon_drains():
    assert float(value("rkllmd.service", "TimeoutStopSec")) > Config().shutdown.drain_s
    assert int(value("rkllmd.service", "RestartPreventExitStatus")) == daemon.BAD_CONFIGURATION


@pytest.mark.parametrize("page", PAGES)
def test_the_manual_has_every_command_and_option(page):
    text = (ROOT / "docs/man" / page).read_text()
    words = set(words_of(PAGES[page]())) - {"--help"}
    assert words
    assert {word for word in words if f"**{word}" not in text} == set()


def test_the_manual_has_every_setting():
    text = config_doc("--manual")
    assert all(f"**{key}**\n: " in text for key in ("models", "hang_s", "drain_s", "content"))


def test_every_file_of_a_bundled_model_is_installed():
    patterns = [line.split()[0] for line in install().splitlines()]
    installed = {path for pattern in patterns for path in ROOT.glob(pattern)}
    assert {path for path in ROOT.glob("models/*/*") if path not in installed} == set()


def test_the_root_of_the_tests_has_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split("[>=]", one)[0].lower() for one in project["dependencies"]}
    root = (ROOT / "tests/systemd/make-root").read_text()
    assert {name for name in names if f"python3-{name.removeprefix('py')}" not in root} == set()


def install():
    """The list of what goes where."""
    return (ROOT / "debian/rkllmd.install").read_text()
