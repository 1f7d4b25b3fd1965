import json
import os
import signal
from pathlib import Path

import nbformat
import pytest

from halab import chain, desk
from halab.errors import UsageError
from halab.settings import Settings
from halab.wait import eventually

BASE = "http://127.0.0.1:8888"


@pytest.mark.parametrize("edition", desk.EDITIONS)
def test_chapters_are_laid_out_with_nothing_run(tmp_path: Path, settings: Settings, edition: str) -> None:
    desk.lay_out(settings, tmp_path, BASE, edition)
    for path in tmp_path.glob("*.ipynb"):
        code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        assert not [c for c in code if c.outputs or c.execution_count]
    text = "".join(path.read_text() for path in tmp_path.glob("*.ipynb"))
    assert ("your_answer_is_missing" in text, "BEGIN SOLUTION" in text) == {"student": (True, False), "solved": (False, True)}[edition]


def test_the_pages_that_the_chapters_link_to_lie_beside_them(tmp_path: Path, settings: Settings) -> None:
    desk.lay_out(settings, tmp_path, BASE, "student")
    assert {path.name for path in chain.NOTEBOOKS.glob("*.md")} < {path.name for path in tmp_path.glob("*.md")}


def test_a_kernel_knows_the_magics_from_its_first_cell_on(tmp_path: Path, settings: Settings) -> None:
    desk.configure(settings, tmp_path)
    config = json.loads((tmp_path / "ipython" / "profile_default" / "ipython_config.json").read_text())
    assert "halab.magics.register" in config["InteractiveShellApp"]["exec_lines"][0]


def test_chapters_are_laid_out_once_and_what_a_student_wrote_stays(tmp_path: Path, settings: Settings) -> None:
    desk.lay_out(settings, tmp_path, BASE, "student")
    assert sorted(p.stem for p in tmp_path.glob("*.ipynb")) == chain.chapters()
    mine = tmp_path / f"{chain.chapters()[0]}.ipynb"
    mine.write_text("mine")
    desk.lay_out(settings, tmp_path, BASE, "student")
    assert mine.read_text() == "mine"


def test_the_first_page_has_a_row_for_every_chapter(tmp_path: Path, settings: Settings) -> None:
    desk.lay_out(settings, tmp_path, BASE, "student")
    page = (tmp_path / desk.WELCOME).read_text()
    for name in chain.chapters():
        facts = desk.about(name)
        assert all(facts.values()), facts
        assert f"| [{facts['title']}]({name}.ipynb) | {facts['goal']} | {facts['needs']} |" in page
    assert f"{BASE}/cluster/" in page


def test_graded_cells_stay_locked_in_a_students_copy(tmp_path: Path, settings: Settings) -> None:
    desk.lay_out(settings, tmp_path, BASE, "student")
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
        eventually((tmp_path / "held").exists, within=5)
        with pytest.raises(UsageError, match="http://first"):
            desk._only_one(lock, "http://second")
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    desk._only_one(lock, "http://second")
    assert lock.read_text() == "http://second"
