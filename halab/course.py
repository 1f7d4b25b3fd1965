"""The commands about the course itself: its desk, its chapters, their checks, and the student's edition.

`halab.cli` has those about the lab, and turns errors into exit codes.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from halab.door import go_in_again, go_in_fresh, only_run, owner, printer, screen
from halab.errors import UsageError
from halab.lab import current
from halab.lock import only_one

#: A file that a command writes.
OUTPUT = click.Path(path_type=Path, dir_okay=False)


@click.command(name="lab")
@click.argument("folder", default="work", type=click.Path(path_type=Path, file_okay=False))
@click.option("--port", type=click.IntRange(1, 65535), help="of 127.0.0.1; 8888 or any free one by default")
@click.option("--browser/--no-browser", default=True, help="open the page in a browser, when there is one")
@click.option("--solved", is_flag=True, help="the complete chapters, with nothing left to do")
def desk(folder: Path, port: int | None, browser: bool, solved: bool) -> int:
    """Open JupyterLab with chapters of your own in FOLDER. Example: halab lab --port 9000 my-work"""
    from halab.relay import open_desk

    if current().host.inside:
        raise UsageError("JupyterLab is opened from the machine", "a shell in the lab host", "halab lab in another terminal")
    if code := subprocess.run([sys.executable, "-m", "halab", "up", "--empty"], check=False).returncode:
        return code
    user, edition = owner(), "solved" if solved else "student"
    return open_desk(folder.absolute(), edition, port, (user.pw_uid, user.pw_gid), printer(), browser=browser)


@click.command()
@click.option("--from", "first", help="first chapter: its name or number")
@click.option("--to", "last", help="last chapter: its name or number")
def run(first: str | None, last: str | None) -> int:
    """Execute the chapters in order, each to its graded end. Example: halab run --from 03 --to 05"""
    from halab import chain

    asked = chain.pick(first, last)
    lab = current()
    names = chain.possible(asked, lab.settings)
    chain.enough(names, lab.settings.nodes)
    if (left_out := [name for name in asked if name not in names]) and lab.host.inside:
        screen.print(f"left out, because it takes a hypervisor and a network of the lab's own: {', '.join(left_out)}")
    if not lab.host.inside:
        return go_in_fresh()
    with only_run(lab):
        if asked[0] == chain.chapters()[0] and not lab.settings.machines:
            lab.down()
            if asked[0] in left_out:
                lab.up(printer())
        it = chain.Run(lab, names)
        code = _execute(it, names)
    table = Table("chapter", "points", "verdict", title=f"{it.folder}")
    from halab.report import summary

    for row in summary(it.report.chapters):
        table.add_row(*row)
    screen.print(table)
    return code


def _execute(it: Any, names: list[str]) -> int:
    if not screen.is_terminal:
        return it.execute(printer())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen) as progress:
        task = progress.add_task("chapters", total=len(names))

        def line(text: str) -> None:
            progress.update(task, description=text[:60])
            if not text.endswith("…"):
                progress.console.print(text, markup=False)
                progress.advance(task)

        return it.execute(line)


@click.command()
@click.argument("chapters", nargs=-1)
@click.option("--json", "json_file", type=OUTPUT, help="keep the report here")
@click.option("--junit", "junit_file", type=OUTPUT, help="the report as JUnit XML")
@click.option("--csv", "csv_file", type=OUTPUT, help="the report as CSV, a line a check")
@click.option("--checks", "more", type=click.Path(path_type=Path, file_okay=False), help="run the checks of this folder too")
@click.option("--verbose", is_flag=True, help="pytest's own output too")
def check(
    chapters: tuple[str, ...], json_file: Path | None, junit_file: Path | None, csv_file: Path | None, more: Path | None, verbose: bool
) -> int:
    """Grade the lab as it is now. Example: halab check 02-corosync 03-pacemaker --json report.json"""
    from halab import chain, export, grading

    forms = ((json_file, export.as_json), (junit_file, export.as_junit), (csv_file, export.as_csv))
    outputs = {path.absolute(): render for path, render in forms if path}
    if len(outputs) < sum(path is not None for path, _ in forms):
        raise UsageError("each form of the report has a file of its own", "one FILE twice", "another FILE")
    for path in outputs:
        if not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
            raise UsageError("the report can be written", f"{path.parent} is no folder that you can write to", "another FILE")
    known = grading.chapters()
    names = [next((k for k in known if name == k or name.zfill(2) == k.split("-")[0]), "") or _no_chapter(name, known) for name in chapters]
    if more and not more.is_dir():
        raise UsageError("--checks names a folder", more, "--checks DIR")
    if not (lab := current()).host.inside:
        return go_in_again()
    with tempfile.TemporaryDirectory() as folder:
        report = grading.run(names or chain.possible(known, lab.settings), Path(folder) / "report.json", more=more, verbose=verbose)
    for path, render in outputs.items():
        path.write_text(render(report))
    click.echo(str(report))
    lab.close()
    return report.exit_code


def _no_chapter(name: str, known: list[str]) -> NoReturn:
    raise UsageError(f"{name} is a chapter", fix="the chapters are " + ", ".join(known))


@click.command()
@click.argument("fault", required=False)
@click.option("--fencing", is_flag=True, help="demand that fencing is on")
@click.option("--json", "as_json", is_flag=True, help="for a program")
def drill(fault: str | None, fencing: bool, as_json: bool) -> int:
    """Inject one fault on the node that serves, measure, heal; without FAULT: list them. Example: halab drill power-cut"""
    from halab import drill as drills
    from halab.grading import BREAKER

    if fault is None:
        for name, one in drills.FAULTS.items():
            screen.print(f"  {name:30}{one.about}")
        return 0
    drills.find(fault)
    if not (lab := current()).host.inside:
        return go_in_again()
    if fencing and not drills.fenced(lab):
        raise UsageError("fencing is on", "stonith-enabled is false", "chapter 07, or fencing.enable(lab) of halab")
    with only_one(lab.keys.folder / BREAKER, "a drill"):
        done = drills.run(lab, fault)
    click.echo(json.dumps(done.measurement.json, indent=1) if as_json else done.text)
    lab.close()
    return 0


@click.command()
@click.argument("chapter")
def reset(chapter: str) -> int:
    """Bring the lab to the start of a chapter, by replaying those before it, or from kept disks. Example: halab reset 03-pacemaker"""
    from halab import chain, replay

    chain.pick(chapter, chapter)
    lab = current()
    if not lab.host.inside:
        return go_in_fresh()
    with only_run(lab):
        replay.reset(lab, chapter, printer())
    screen.print(f"the lab is at the start of {chain.pick(chapter, chapter)[0]}")
    return 0


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--nbgrader", "course", is_flag=True, help="for teachers: a course for nbgrader, with the solutions")
def student(folder: Path, course: bool) -> int:
    """Write the student's edition of the chapters into a new folder. Example: halab student ~/workbook"""
    from halab.student import write_course, write_student

    written = (write_course if course else write_student)(folder, current().settings)
    screen.print(f"{len(written)} files in {folder}; begin with " + ("nbgrader_config.py" if course else "README.md"))
    return 0


COMMANDS = (desk, run, check, drill, reset, student)
