from xml.etree import ElementTree

import pytest

from halab import fencing
from halab.errors import StudentError
from halab.fencing import Event

#: Debian 13, pacemaker 3.0.0, `stonith_admin --history '*' --verbose --output-as=xml`.
HISTORY = """\
<pacemaker-result api-version="2.38" request="stonith_admin --history * --output-as=xml --verbose">
  <list name="fencing history" count="2">
    <fence_event action="reboot" target="pacemaker02" client="pacemaker-controld.104" origin="pacemaker01" status="success" \
delegate="pacemaker01" completed="2026-11-25 08:05:10.979286Z"/>
    <fence_event action="reboot" target="pacemaker03" client="stonith_admin.865" origin="pacemaker01" status="success" \
delegate="pacemaker01" completed="2026-11-25 08:04:51.103285Z"/>
  </list>
  <status code="0" message="OK"/>
</pacemaker-result>
"""
NOTHING = """\
<pacemaker-result api-version="2.38" request="stonith_admin --history * --output-as=xml --verbose">
  <list name="fencing history" count="0"/>
  <status code="0" message="OK"/>
</pacemaker-result>
"""


def cib(properties: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<cib><configuration><crm_config>{properties}</crm_config></configuration></cib>")


def test_history_newest_first() -> None:
    newest, oldest = fencing.parse_history(HISTORY)
    assert newest == Event(
        "reboot", "pacemaker02", "pacemaker01", "pacemaker-controld.104", "pacemaker01", "success", "2026-11-25 08:05:10.979286Z"
    )
    assert (oldest.target, oldest.client) == ("pacemaker03", "stonith_admin.865")
    assert str(oldest) == "reboot of pacemaker03, asked for by pacemaker01, done by pacemaker01: success"


@pytest.mark.parametrize(
    "text", ["2026-11-25 08:05:10.5Z", "2026-11-25 08:05:10.5+00:00", "2026-11-25 09:05:10.5 +01:00", "2026-11-25 03:05:10.5 -05:00"]
)
def test_when_it_ended(text: str) -> None:
    assert Event("off", "a", "b", "c", "d", "success", text).at == 1795593910.5


def test_what_has_not_ended_is_later_than_anything() -> None:
    assert Event("off", "a", "b", "c", "d", "pending").at > 1e12


def test_history_of_a_cluster_that_never_fenced() -> None:
    assert fencing.parse_history(NOTHING) == ()


@pytest.mark.parametrize("text", ["", "<pacemaker-result", "<other/>", NOTHING.replace('code="0" message="OK"', 'code="102" message="No"')])
def test_what_is_no_history(text: str) -> None:
    with pytest.raises(StudentError):
        fencing.parse_history(text)


@pytest.mark.parametrize(("value", "on"), [("true", True), ("Yes", True), ("1", True), ("false", False), ("off", False), ("", False)])
def test_enabled(value: str, on: bool) -> None:
    assert fencing.enabled(cib(f'<nvpair name="stonith-enabled" value="{value}"/>')) is on


def test_enabled_is_pacemakers_default() -> None:
    assert fencing.enabled(cib(""))


def test_a_node_waits_longer_than_the_others_need_to_miss_it() -> None:
    assert fencing.delay(1650, 1980) == 5
    assert fencing.delay(3650, 4380) == 10
