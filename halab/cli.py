"""The command line. Outside the lab host a command goes in (`halab.door`); inside it works.

Exit codes: 0 good; 1 the student's work falls short; 2 wrong use or configuration; 3 the lab or the
machine failed.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from halab import doctor as machine
from halab.door import (
    as_root,
    build,
    enter,
    go_in,
    go_in_fresh,
    interrupted,
    only_run,
    owner,
    printer,
    run_lock,
    screen,
    start_host,
    waiting,
)
from halab.errors import HalabError, LabError, UsageError
from halab.host import Host
from halab.image import Image
from halab.lab import current
from halab.lock import held
from halab.settings import PREFIX, Settings, load

#: A file that a command writes.
OUTPUT = click.Path(path_type=Path, dir_okay=False)
#: What follows a command's first word belongs to the program that it starts, options too.
VERBATIM = {"ignore_unknown_options": True, "allow_interspersed_args": False}


class Commands(click.Group):
    """Turns an error of ours into one message and its exit code."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        signal.signal(signal.SIGTERM, interrupted)
        try:
            sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}))
        except HalabError as error:
            click.echo(f"halab: {error}", err=True)
            sys.exit(error.exit_code)
        except OSError as error:
            click.echo(f"halab: {LabError('this machine lets halab work', error, 'halab doctor')}", err=True)
            sys.exit(LabError.exit_code)
        except click.Abort:
            click.echo("halab: interrupted; `halab status` tells what is there", err=True)
            sys.exit(130)
        except click.ClickException as error:
            error.show()
            sys.exit(2)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option("0.1.0", prog_name="halab")
def main() -> None:
    """A real three-node HA cluster for the notebooks of this course.

    Example: halab up && halab ssh pacemaker01
    """


# -- the commands -------------------------------------------------------------------------------------


@main.command()
@click.option("--json", "as_json", is_flag=True, help="for a program")
@click.option("--settings", "show", is_flag=True, help="list the settings and their meaning")
def doctor(as_json: bool, show: bool) -> int:
    """Say what this machine has and lacks. Example: halab doctor --json"""
    settings = load()
    if show:
        table = Table("setting", "value", "meaning")
        for name, field in Settings.model_fields.items():
            table.add_row(f"{PREFIX}{name.upper()}", str(getattr(settings, name)), field.description or "")
        screen.print(table)
        return 0
    findings = machine.examine(settings)
    if as_json:
        click.echo(json.dumps([f.json() for f in findings], indent=1))
    else:
        for f in findings:
            screen.print(f"[{'green]✔' if f.ok else 'red]✘'}[/] {f.what}: {f.seen}" + ("" if f.ok else f"\n    fix: {f.fix}"))
    return 0 if all(f.ok for f in findings if "golden image" not in f.what) else 3


@main.command()
@click.option("--json", "as_json", is_flag=True, help="for a program")
def image(as_json: bool) -> int:
    """Build the golden root file system, once. Example: HALAB_RELEASE=bookworm halab image"""
    as_root()
    made = Image(load())
    if not made.built:
        machine.require(made.settings)
        build(made, quiet=as_json)
    about = {"folder": str(made.folder), **made.about}
    click.echo(json.dumps(about) if as_json else f"{made} in {made.folder}, {len(about['packages'])} packages to install from")
    return 0


@main.command()
@click.option("--empty", is_flag=True, help="only the lab host; chapter 01 makes the nodes")
def up(empty: bool) -> int:
    """Start the lab: image, lab host, network and nodes. Example: HALAB_NODES=4 halab up"""
    lab = current()
    if not lab.host.inside:
        as_root()
        host = Host(load())
        with host.locked(waiting):
            start_host(host)
            return 0 if empty else go_in(host, "up")
    lab.up(printer())
    return 0


@main.command()
@click.option("--json", "as_json", is_flag=True, help="for a program")
def status(as_json: bool) -> int:
    """Tell what is there, truly. Example: halab status --json"""
    lab = current()
    if not lab.host.inside:
        as_root()
        if lab.host.running:
            return go_in(lab.host, *sys.argv[1:])
    seen = lab.status()
    seen["run"] = seen["running"] and held(run_lock(lab))
    if as_json:
        click.echo(json.dumps(seen, indent=1))
        return 0 if seen["running"] else 3
    screen.print(f"lab {seen['name']} ({seen['engine']}, {seen['release']}): {'running' if seen['running'] else 'not running'}")
    if seen["run"]:
        screen.print("  a run goes on")
    for node in seen["nodes"]:
        screen.print(f"  {node['name']}  {node['address']}  {node['state']}{', answers' if node['ssh'] else ''}")
    return 0 if seen["running"] else 3


@main.command(context_settings=VERBATIM)
@click.argument("node")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(node: str, command: tuple[str, ...]) -> NoReturn:
    """Log in on a node, or run a command there. Example: halab ssh pacemaker01 crm_mon -1"""
    lab = enter()
    to = lab.node(node)
    known = lab.keys.known_hosts(lab.settings.identities)
    options = [f"IdentityFile={lab.keys.user}", f"UserKnownHostsFile={known}", "StrictHostKeyChecking=yes",
               "IdentitiesOnly=yes", "LogLevel=ERROR"]  # fmt: skip
    os.execvp("ssh", ["ssh", "-F", "/dev/null", *(f"-o{o}" for o in options), f"root@{to.address}", *command])


@main.command()
@click.argument("node")
def console(node: str) -> NoReturn:
    """Open a node's console; leave with Ctrl-]. Example: halab console pacemaker01"""
    lab = enter()
    os.execvp("virsh", ["virsh", "-c", lab.engine.uri, "console", lab.node(node).name])


@main.command()
def down() -> int:
    """Remove the nodes; called outside, the lab host too. Example: halab down"""
    lab = current()
    if lab.host.inside:
        lab.down(printer())
        return 0
    as_root()
    lab.host.end()  # also ends a command that goes on in it and holds the lock
    with lab.host.locked(waiting):
        lab.host.remove()
    screen.print(f"lab {lab.settings.name} is gone")
    return 0


@main.command(name="exec", context_settings=VERBATIM)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(command: tuple[str, ...]) -> NoReturn:
    """Run a program inside the lab host, as you. Example: halab exec -- jupyter lab"""
    enter()
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise UsageError(f"{command[0]} can be run", error) from None


@main.command(name="lab")
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


@main.command()
@click.option("--from", "first", help="first chapter: its name or number")
@click.option("--to", "last", help="last chapter: its name or number")
def run(first: str | None, last: str | None) -> int:
    """Execute the chapters in order, each to its graded end. Example: halab run --from 03 --to 05"""
    from halab import chain

    names = chain.pick(first, last)
    lab = current()
    chain.enough(names, lab.settings.nodes)
    if not lab.host.inside:
        return go_in_fresh()
    with only_run(lab):
        if names[0] == chain.chapters()[0]:
            lab.down()
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


@main.command()
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
    from halab import export, grading

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
    lab = enter()
    with tempfile.TemporaryDirectory() as folder:
        report = grading.run(names or known, Path(folder) / "report.json", more=more, verbose=verbose)
    for path, render in outputs.items():
        path.write_text(render(report))
    click.echo(str(report))
    lab.close()
    return report.exit_code


def _no_chapter(name: str, known: list[str]) -> NoReturn:
    raise UsageError(f"{name} is a chapter", fix="the chapters are " + ", ".join(known))


@main.command()
@click.argument("chapter")
def reset(chapter: str) -> int:
    """Bring the lab to the start of a chapter, by replaying those before it. Example: halab reset 03-pacemaker"""
    from halab import chain

    chain.pick(chapter, chapter)
    lab = current()
    if not lab.host.inside:
        return go_in_fresh()
    with only_run(lab):
        chain.reset(lab, chapter, printer())
    screen.print(f"the lab is at the start of {chain.pick(chapter, chapter)[0]}")
    return 0


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--nbgrader", "course", is_flag=True, help="for teachers: a course for nbgrader, with the solutions")
def student(folder: Path, course: bool) -> int:
    """Write the student's edition of the chapters into a new folder. Example: halab student ~/workbook"""
    from halab.student import write_course, write_student

    written = (write_course if course else write_student)(folder, current().settings)
    screen.print(f"{len(written)} files in {folder}; begin with " + ("nbgrader_config.py" if course else "README.md"))
    return 0
