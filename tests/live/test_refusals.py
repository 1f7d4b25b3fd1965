"""Wrong use and wrong settings: exit code 2, the setting named, nothing started."""

import pytest

from tests.live.livelab import Live

WRONG = {
    "machines without an inventory": ({"HALAB_ENGINE": "ssh"}, "engine ssh"),
    "an unknown engine": ({"HALAB_ENGINE": "docker"}, "engine"),
    "an accelerator that is none": ({"HALAB_ACCEL": "xen"}, "accel"),
    "more processors than a node may have": ({"HALAB_VCPUS": "99"}, "vcpus"),
    "a bridge of no known type": ({"HALAB_BRIDGE_TYPE": "cisco"}, "bridge_type"),
    "no nodes": ({"HALAB_NODES": "0"}, "nodes"),
    "one node": ({"HALAB_NODES": "1"}, "nodes"),
    "200 nodes": ({"HALAB_NODES": "200"}, "nodes"),
    "nodes that are no number": ({"HALAB_NODES": "three"}, "nodes"),
    "an unknown setting": ({"HALAB_NODE": "3"}, "HALAB_NODE"),
    "an unknown release": ({"HALAB_RELEASE": "trusty"}, "release"),
    "overlapping networks": ({"HALAB_SUBNET": "203.0.113.0/24"}, "overlap"),
    "a virtual IP that is a node's": ({"HALAB_VIRTUAL_IP": "192.168.100.11"}, "virtual_ip"),
    "a virtual IP elsewhere": ({"HALAB_VIRTUAL_IP": "10.0.0.1"}, "virtual_ip"),
    "a name that is a path": ({"HALAB_NAME": "../x"}, "name"),
    "a scale that is no number": ({"HALAB_TIMEOUT_SCALE": "fast"}, "timeout_scale"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_setting_is_named(new_lab, what):
    env, named = WRONG[what]
    lab = new_lab()
    done = lab.halab("up", **env)
    assert done.status == 2 and named in done.stderr, done
    assert not lab.settings.folder.exists()


@pytest.mark.parametrize(
    ("text", "named"),
    [("nodes = = 3", "halab.toml"), ("nodes = 99", "nodes"), ("colour = 'red'", "colour"), ("[nodes]\nx = 1", "nodes")],
)
def test_a_wrong_file_is_named(tmp_path, text, named):
    (tmp_path / "halab.toml").write_text(text)
    done = Live({"HALAB_NAME": "never"}, folder=tmp_path).halab("up")
    assert done.status == 2 and named in done.stderr, done


@pytest.mark.parametrize(
    "argv",
    [
        ["up", "--fast"],
        ["reset", "09-nothing"],
        ["run", "--from", "05", "--to", "02"],
        ["check", "99"],
        ["ssh", "pacemaker09"],
        ["nothing"],
        ["exec"],
    ],
)
def test_wrong_use_is_refused(live, argv):
    done = live.halab(*argv)
    assert done.status == 2 and done.stderr, done


@pytest.mark.parametrize("argv", [["ssh", "pacemaker01"], ["console", "pacemaker01"], ["exec", "--", "true"], ["check"], ["status"]])
def test_without_a_lab_the_way_to_one_is_told(new_lab, argv):
    done = new_lab().halab(*argv)
    assert done.status == 3 and ("halab up" in done.stderr or "not running" in done.stdout), done
