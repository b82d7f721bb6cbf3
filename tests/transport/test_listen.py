"""Who gets the socket, and whose file is whose."""

import os
import signal
import socket
import stat
import subprocess
import sys

import pytest

from rkllmd.transport.listen import ListenError, adopt, open_unix

START = """
import sys, pathlib
from rkllmd.transport.listen import ListenError, open_unix
sys.stdin.readline()
try:
    listener = open_unix(pathlib.Path(sys.argv[1]))
except ListenError as error:
    print("lost", error, flush=True)
else:
    print("won", flush=True)
    sys.stdin.readline()
    listener.close()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "rkllmd.sock"


def starter(path):
    return subprocess.Popen(
        [sys.executable, "-c", START, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def test_mode_and_folder(path):
    before = os.umask(0o077)
    try:
        listener = open_unix(path, mode=0o664)
        found = path.lstat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o664
        listener.close()
        listener.close()
        assert not path.exists()
    finally:
        os.umask(before)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file to any group")
def test_group(path):
    listener = open_unix(path, group="daemon")
    assert path.group() == "daemon"
    listener.close()


def test_an_unknown_group_is_named_and_leaves_nothing(path):
    with pytest.raises(ListenError, match="no group is called 'no-such-group'"):
        open_unix(path, group="no-such-group")
    assert not path.exists()
    open_unix(path).close()


def test_a_stale_socket_is_replaced(path):
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listener = open_unix(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()


def test_a_socket_left_by_a_killed_daemon_is_replaced(path):
    with starter(path) as process:
        go(process)
        assert process.stdout.readline() == "won\n"
        process.send_signal(signal.SIGKILL)
    assert path.exists()
    open_unix(path).close()


def test_a_live_daemon_is_not_displaced_and_named(path):
    with starter(path) as process:
        go(process)
        assert process.stdout.readline() == "won\n"
        with pytest.raises(ListenError, match=rf"process {process.pid} \(python"):
            open_unix(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        go(process)
    assert not path.exists()


@pytest.mark.parametrize("backlog", [0, 8])
def test_a_live_foreign_program_is_not_displaced(path, backlog):
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as foreign, socket.socket(socket.AF_UNIX) as waiting:
        foreign.bind(str(path))
        foreign.listen(backlog)
        waiting.connect(str(path))
        with pytest.raises(ListenError, match="belongs to"):
            open_unix(path)
        assert path.exists()


def test_of_two_starters_exactly_one_wins(path):
    for _ in range(3):
        processes = [starter(path) for _ in range(4)]
        for process in processes:
            go(process)
        results = [process.stdout.readline() for process in processes]
        assert results.count("won\n") == 1, results
        assert all("belongs to" in result for result in results if result != "won\n")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        for process in processes:
            process.communicate("\n")
        assert not path.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "symlink", "dangling"])
def test_anything_else_is_left_alone(path, kind):
    path.parent.mkdir()
    target = path.with_name("target")
    match kind:
        case "file":
            path.write_text("precious")
        case "folder":
            path.mkdir()
        case "symlink":
            target.write_text("precious")
            path.symlink_to(target)
        case "dangling":
            path.symlink_to(target)
    before = path.lstat()
    with pytest.raises(ListenError, match="no socket"):
        open_unix(path)
    assert path.lstat().st_ino == before.st_ino
    assert kind != "symlink" or target.read_text() == "precious"


def test_a_lock_that_is_a_symlink_is_not_followed(path):
    path.parent.mkdir()
    target = path.with_name("target")
    target.write_text("precious")
    path.with_name(path.name + ".lock").symlink_to(target)
    with pytest.raises(ListenError):
        open_unix(path)
    assert target.read_text() == "precious"


def test_closing_leaves_a_file_that_is_another_ones(path):
    listener = open_unix(path)
    path.unlink()
    path.with_name("keeps-the-inode-number-taken").touch()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        listener.close()
        assert path.exists()


def test_a_path_that_is_too_long_is_said(tmp_path):
    with pytest.raises(ListenError, match="Unix sockets allow 107"):
        open_unix(tmp_path / ("x" * 120))


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ListenError, match=r"rkllmd\.sock cannot be made: .*/file\)"):
        open_unix(tmp_path / "file" / "rkllmd.sock")


def test_an_adopted_socket_works_and_its_file_stays(path):
    path.parent.mkdir()
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen()
    listener = adopt(made.detach())
    assert not listener.socket.get_inheritable()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()
    assert path.exists()


def test_what_does_not_listen_is_not_adopted(tmp_path):
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(ListenError, match="no listening"):
        adopt(os.dup(sock.fileno()))
    with (tmp_path / "file").open("w") as file, pytest.raises(ListenError, match="no listening"):
        adopt(os.dup(file.fileno()))
