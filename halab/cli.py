"""The command line. Outside the lab host a command goes in (`halab.door`); inside it works.

Exit codes: 0 good; 1 the student's work falls short; 2 wrong use or configuration; 3 the lab or the
machine failed.
"""

import json
import os
import shlex
import sys
import traceback
from functools import partial
from typing import Any, NoReturn

import click
from rich.table import Table

from halab import course
from halab import doctor as machine
from halab.door import (
    as_root,
    build,
    clear,
    enter,
    go_in,
    listen,
    printer,
    run_lock,
    screen,
    start_host,
    waiting,
)
from halab.engine import pick
from halab.errors import HalabError, LabError, UsageError
from halab.host import Host, readable
from halab.image import Image
from halab.lab import current
from halab.lock import held
from halab.settings import PREFIX, Settings, load

#: What follows a command's first word belongs to the program that it starts, options too.
VERBATIM = {"ignore_unknown_options": True, "allow_interspersed_args": False}


class Commands(click.Group):
    """Turns an error of ours into one message and its exit code."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        listen()
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
        except Exception:  # a mistake of ours, which is never the student's
            traceback.print_exc()
            sys.exit(LabError.exit_code)


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
    """Build the golden root file system, once, and what the engine makes of it. Example: HALAB_RELEASE=bookworm halab image"""
    as_root()
    made = Image(load())
    engine, _ = pick(made.settings.engine, Host(made.settings))
    with readable():
        if not made.built:
            machine.require(made.settings)
            build(made, quiet=as_json)
        engine.prepare(made, partial(build, quiet=as_json))
    about = {"folder": str(made.folder), **made.about}
    click.echo(json.dumps(about) if as_json else f"{made} in {made.folder}, {len(about['packages'])} packages to install from")
    return 0


@main.command()
@click.option("--empty", is_flag=True, help="only the lab host; chapter 01 makes the nodes")
@click.option("--yes", "agreed", is_flag=True, help="engine ssh: you agree to what is done to your machines")
def up(empty: bool, agreed: bool) -> int:
    """Start the lab: image, lab host, network and nodes. Example: HALAB_NODES=4 halab up"""
    lab = current()
    if not lab.host.inside:
        as_root()
        host = Host(load())
        with host.locked(waiting):
            start_host(host, agreed=agreed)
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
    state = (
        "running" if seen["running"] else "half there, its machines go on (halab up, or halab down)" if lab.host.survives else "not running"
    )
    screen.print(f"lab {seen['name']} ({seen['engine']}, {seen['release']}): {state}")
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
    options = [f"IdentityFile={lab.keys.opening(to.identity)}", f"UserKnownHostsFile={known}", "StrictHostKeyChecking=yes",
               "IdentitiesOnly=yes", "LogLevel=ERROR"]  # fmt: skip
    if to.ssh.root:  # as everything of the lab's, as root
        command = ("sudo", "--non-interactive", "bash", "-c", shlex.quote(" ".join(command))) if command else ("sudo", "--login")
        options += ["RequestTTY=auto" if "bash" in command else "RequestTTY=yes"]
    os.execvp("ssh", ["ssh", "-F", "/dev/null", *(f"-o{o}" for o in options), f"{to.ssh.user}@{to.address}", *command])


@main.command()
@click.argument("node")
def console(node: str) -> NoReturn:
    """Open a node's console; leave with Ctrl-]. Example: halab console pacemaker01"""
    lab = enter()
    os.execvp("virsh", ["virsh", "-c", lab.hypervisor.uri, "console", lab.node(node).name])


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
        if lab.host.survives:
            clear(lab.host)
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


for command in course.COMMANDS:
    main.add_command(command)
