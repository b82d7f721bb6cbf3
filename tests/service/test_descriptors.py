"""Clients are refused before the daemon has no descriptor left for its own work."""

import resource
import subprocess
import sys

import pytest

from rkllmd.config.settings import Config
from rkllmd.service.descriptors import RESERVED, fit_clients, raise_limit


def clients_of(config):
    return [part.connections_max for part in (config.socket, config.http, config.wyoming)]


def test_enough_descriptors_change_nothing():
    config = Config()
    assert fit_clients(config, sum(clients_of(config)) + RESERVED) == (config, "")


@pytest.mark.parametrize("descriptors", [2, 64, 300, 1024, 2000])
def test_clients_leave_room_for_the_daemon(descriptors):
    fitted, note = fit_clients(Config(), descriptors)
    clients = clients_of(fitted)
    assert min(clients) >= 1
    assert sum(clients) <= max(descriptors - RESERVED, descriptors // 2, len(clients))
    assert f"only {descriptors} files" in note
    assert all(f"only {count} " in note or f" {count} " in note for count in clients)


RAISING = """
import resource
from rkllmd.config.settings import Config
from rkllmd.service.descriptors import raise_limit
print(raise_limit(Config()), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("soft", "hard", "raised"), [(64, 4096, 2560), (64, 128, 128)])
def test_the_limit_is_raised_as_far_as_it_is_needed_and_allowed(soft, hard, raised):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    command = [sys.executable, "-c", RAISING]
    said = subprocess.run(command, preexec_fn=limit, capture_output=True, check=True).stdout
    assert said.split() == [b"%d" % raised, b"%d" % raised, b"%d" % hard]


def test_a_limit_that_is_high_enough_stays():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[0] < 2560:
        pytest.skip("the limit of this process is lower")
    assert raise_limit(Config()) >= 2560
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
