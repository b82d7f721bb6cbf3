"""The vendor's library, which the package does not bring: what is said without it, and once it is
there. In its place is the simulated one."""

import json

import pytest

from tests.fakes.rkllm.built import NEWEST, built, make_model

MODEL = "/var/lib/rkllmd/models/assistant"
LIBRARY = "/usr/lib/librkllmrt.so"


@pytest.fixture(scope="module")
def machine(boot, tmp_path_factory):
    """A machine with the package, and in /vendor a library and a model that needs it."""
    vendor = tmp_path_factory.mktemp("vendor")
    make_model(vendor / "model.rkllm")
    (vendor / "librkllmrt.so").write_bytes(built(NEWEST).read_bytes())
    machine = boot(f"--bind-ro={vendor}:/vendor")
    machine.run(f"mkdir -p {MODEL} && cp /vendor/model.rkllm {MODEL}")
    machine.run("apt-get install -y -qq /packages/rkllmd.deb")
    yield machine
    machine.close()


def test_without_it_others_answer_and_with_it_a_reload_is_enough(machine):
    said = machine.run("rkllmctl status")
    assert "librkllmrt.so is in none of /usr/lib," in said
    assert "Install the vendor's runtime" in said
    assert "librkllmrt.so" in machine.run("rkllmctl doctor", check=False)
    assert machine.run("rkllmctl ask --model tiny-assistant 'What is your name?'")
    pid = machine.run("systemctl show rkllmd -p MainPID")
    machine.run(f"cp /vendor/librkllmrt.so {LIBRARY}")
    machine.run("systemctl reload rkllmd")
    assert machine.run("rkllmctl ask --model assistant 'What is your name?'")
    models = json.loads(machine.run("rkllmctl call model.list"))["models"]
    assert {one["name"]: one["state"] for one in models}["assistant"] == "ready"
    assert machine.run("systemctl show rkllmd -p MainPID") == pid


def test_one_that_is_there_before_the_package_is_used(machine):
    machine.run(f"cp /vendor/librkllmrt.so {LIBRARY}")
    machine.run("apt-get purge -y -qq rkllmd && apt-get install -y -qq /packages/rkllmd.deb")
    assert machine.run("rkllmctl ask --model assistant 'What is your name?'")
