from pathlib import Path

import pytest

from halab import cgroups


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    """A machine with some v1 hierarchies, and the mixed `unified` one."""
    root = tmp_path / "v1"
    for name in ("cpu", "cpuset", "memory", "systemd"):
        (root / name).mkdir(parents=True)
        (root / name / "cgroup.procs").write_text("1\n")
    (root / "unified").mkdir()
    (root / "unified" / "cgroup.controllers").write_text("")
    (root / "pids").mkdir()  # a folder, nothing mounted on it
    return root


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    root = tmp_path / "v2"
    root.mkdir()
    (root / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (root / "cgroup.procs").write_text("1\n")
    return root


def test_only_a_unified_root_is_pure_v2(v1: Path, v2: Path) -> None:
    assert cgroups.pure_v2(v2)
    assert not cgroups.pure_v2(v1)


def test_hierarchies_are_the_mounted_ones(v1: Path) -> None:
    assert sorted(h.name for h in cgroups.hierarchies(v1)) == ["cpu", "cpuset", "memory", "systemd"]


def test_on_v2_a_lab_has_one_folder(v2: Path) -> None:
    assert cgroups.folders("ha", v2) == [v2 / "halab-ha"]


def test_on_v1_a_lab_has_a_folder_in_each_hierarchy(v1: Path) -> None:
    assert {f.relative_to(v1).as_posix() for f in cgroups.folders("ha", v1)} == {
        "cpu/halab-ha", "cpuset/halab-ha", "memory/halab-ha", "systemd/halab-ha"
    }  # fmt: skip


def test_joining_moves_this_process_and_fills_the_new_cpuset(v1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file, text in (("cpuset.cpus", "0-1\n"), ("cpuset.mems", "0\n")):
        (v1 / "cpuset" / file).write_text(text)
    monkeypatch.setattr(cgroups, "folders", lambda lab: [v1 / "cpuset" / f"halab-{lab}", v1 / "memory" / f"halab-{lab}"])
    monkeypatch.setattr(cgroups, "pure_v2", lambda: False)
    cgroups.join("ha")
    assert (v1 / "cpuset/halab-ha/cpuset.cpus").read_text() == "0-1\n"
    assert (v1 / "cpuset/halab-ha/cgroup.procs").read_text() == (v1 / "memory/halab-ha/cgroup.procs").read_text()
    assert not (v1 / "memory/halab-ha/cpuset.cpus").exists()


def test_the_group_of_the_nodes_is_there_before_them(v1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file, text in (("cpuset.cpus", "0-1\n"), ("cpuset.mems", "0\n")):
        (v1 / "cpuset" / file).write_text(text)

    def run(*argv: str) -> None:
        if argv[0] == "mount" and Path(argv[-1]) == v1:  # what is mounted afresh is empty
            v1.rename(v1.with_name("before"))
            v1.mkdir()
        elif argv[0] == "mount":
            for file in ("cpuset.cpus", "cpuset.mems"):
                Path(argv[-1], file).write_text((v1.with_name("before") / "cpuset" / file).read_text())

    monkeypatch.setattr(cgroups, "ROOT", v1)
    monkeypatch.setattr(cgroups, "pure_v2", lambda: False)
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [v1 / name for name in ("cpuset", "memory", "systemd")])
    monkeypatch.setattr(cgroups, "_run", run)
    cgroups.remount()
    assert (v1 / "cpuset/machine/cpuset.cpus").read_text() == "0-1\n"
    assert sorted(path.parent.name for path in v1.glob("*/machine")) == ["cpuset", "memory"]


def test_only_controllers_that_the_machine_has_are_enabled(v2: Path) -> None:
    (v2 / "cgroup.controllers").write_text("memory\n")
    cgroups._enable(v2)
    assert (v2 / "cgroup.subtree_control").read_text() == "+memory"


def test_without_any_controller_nothing_is_written(v2: Path) -> None:
    (v2 / "cgroup.controllers").write_text("rdma\n")
    cgroups._enable(v2)
    assert not (v2 / "cgroup.subtree_control").exists()


def test_removing_takes_this_labs_folders_deepest_first_and_no_other(v2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("halab-ha/machine/lxc-1", "halab-ha/daemon", "halab-hab/machine"):
        (v2 / path).mkdir(parents=True)
    folders = cgroups.folders
    monkeypatch.setattr(cgroups, "folders", lambda lab: folders(lab, v2))
    cgroups.remove("ha")
    assert [p.name for p in v2.iterdir() if p.is_dir()] == ["halab-hab"]
    cgroups.remove("ha")  # safe when there is none


def test_a_folder_in_use_is_an_error_and_not_skipped(v2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (v2 / "halab-ha").mkdir()
    (v2 / "halab-ha" / "busy").write_text("")
    folders = cgroups.folders
    monkeypatch.setattr(cgroups, "folders", lambda lab: folders(lab, v2))
    with pytest.raises(OSError, match="not empty"):
        cgroups.remove("ha")
