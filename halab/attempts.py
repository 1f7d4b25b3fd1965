"""How often each check was graded, and failed, on this instance of the lab: a second failure gets a stronger hint."""

import json
from pathlib import Path

from halab.lab import current
from halab.lock import lock


def count(check: str, verdict: str) -> tuple[int, int]:
    """(how often this check was graded, how often it failed) on this instance of the lab, this time included."""
    path = current().settings.folder / "keys" / "attempts.json"  # the one folder of the lab that is its owner's
    counted, failed = verdict in ("passed", "failed", "warning"), verdict in ("failed", "warning")
    if not path.parent.exists():
        return int(counted), int(failed)
    with lock(path.with_suffix(".lock"), lambda: None):  # two graders at once count both
        kept = _kept(path)
        tries, failures = kept.get(check, (0, 0))
        if counted:
            kept[check] = tries, failures = tries + 1, failures + failed
            path.write_text(json.dumps(kept))
    return tries, failures


def _kept(path: Path) -> dict[str, tuple[int, int]]:
    """What `count` kept; nothing when it was cut short, or is not there."""
    try:
        return {name: (int(tries), int(failures)) for name, (tries, failures) in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
