import json
import os
import signal
import socket
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from halab import chain, desk
from halab.errors import UsageError
from halab.settings import Settings

BASE = "http://127.0.0.1:8888"


def test_a_fresh_chapter_has_no_outputs_and_this_labs_parameters() -> None:
    shown = new_output("stream", text="x")
    parameters = new_code_cell('lab_name = "halab"', metadata={"tags": ["parameters"]})
    notebook = new_notebook(cells=[parameters, new_code_cell("1", outputs=[shown], execution_count=3)])
    first, second = desk.fresh(Settings(name="mine", nodes=4), notebook).cells
    assert first.source == 'lab_name = "mine"\nengine = "lxc"\nnodes = 4'
    assert (second.outputs, second.execution_count, second.source) == ([], None, "1")


def test_chapters_are_laid_out_once_and_what_a_student_wrote_stays(tmp_path: Path, settings: Settings) -> None:
    desk.lay_out(settings, tmp_path, BASE)
    assert sorted(p.stem for p in tmp_path.glob("*.ipynb")) == chain.chapters()
    mine = tmp_path / f"{chain.chapters()[0]}.ipynb"
    mine.write_text("mine")
    desk.lay_out(settings, tmp_path, BASE)
    assert mine.read_text() == "mine"


def test_the_first_page_has_a_row_for_every_chapter(tmp_path: Path, settings: Settings) -> None:
    desk.lay_out(settings, tmp_path, BASE)
    page = (tmp_path / desk.WELCOME).read_text()
    for name in chain.chapters():
        facts = desk.about(name)
        assert all(facts.values()), facts
        assert f"| [{facts['title']}]({name}.ipynb) | {facts['goal']} | {facts['needs']} |" in page
    assert f"{BASE}/cluster/" in page


def test_graded_cells_stay_locked_in_a_students_copy(tmp_path: Path, settings: Settings) -> None:
    desk.lay_out(settings, tmp_path, BASE)
    for path in tmp_path.glob("*.ipynb"):
        last = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"][-1]
        assert (last.metadata.deletable, last.metadata.editable) == (False, False)


def test_jupyter_proxies_to_no_host_and_its_kernels_listen_on_no_port(tmp_path: Path, settings: Settings) -> None:
    desk.configure(settings, tmp_path)
    config = json.loads((tmp_path / "jupyter_server_config.json").read_text())
    assert config["ServerProxy"]["host_allowlist"] == []
    assert config["KernelManager"]["transport"] == "ipc"
    assert config["ServerApp"]["allow_root"] is True


def test_the_first_arrangement_has_the_page_and_the_live_picture(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "workspace"
    desk.arrange(path, BASE)
    parts = json.loads(path.read_text())["data"]["layout-restorer:data"]["main"]["dock"]["children"]
    assert [p["widgets"][0] for p in parts] == [f"markdownviewer-widget:{desk.WELCOME}", "server-proxy:server-proxy:cluster"]


def test_a_students_arrangement_follows_the_port(tmp_path: Path) -> None:
    path = tmp_path / "workspace"
    path.write_text('{"mine": "http://127.0.0.1:41234/cluster/"}')
    desk.arrange(path, BASE)
    assert json.loads(path.read_text()) == {"mine": f"{BASE}/cluster/"}


def test_a_second_desk_is_told_where_the_first_is(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    child = os.fork()
    if not child:
        desk._only_one(lock, "http://first")
        Path(tmp_path / "held").touch()
        signal.pause()
    try:
        desk.eventually((tmp_path / "held").exists, within=5)
        with pytest.raises(UsageError, match="http://first"):
            desk._only_one(lock, "http://second")
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    desk._only_one(lock, "http://second")
    assert lock.read_text() == "http://second"


def test_a_port_that_is_taken_is_refused_when_it_was_asked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="another --port"):
        desk._listen(taken.getsockname()[1])


def test_without_a_wish_any_free_port_of_this_machine_alone_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(desk, "PORT", taken.getsockname()[1])
        with desk._listen(None) as free:
            host, port = free.getsockname()
            assert host == "127.0.0.1" and port not in (0, desk.PORT)
