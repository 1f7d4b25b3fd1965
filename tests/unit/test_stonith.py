from xml.etree import ElementTree

import pytest

from halab import stonith
from halab.errors import StudentError
from halab.stonith import Device

CIB = ElementTree.fromstring("""
<cib><configuration><resources>
  <primitive id="ClusterIP" class="ocf" provider="heartbeat" type="IPaddr2"/>
  <primitive id="Fencing" class="stonith" type="fence_xvm">
    <instance_attributes id="a">
      <nvpair id="b" name="key_file" value="/etc/cluster/own.key"/>
      <nvpair id="c" name="pcmk_host_map" value="n1:m1;n2:m2;"/>
    </instance_attributes>
    <operations><op id="d" name="monitor" interval="60s"/></operations>
  </primitive>
  <group id="g"><primitive id="Liar" class="stonith" type="null">
    <instance_attributes id="e"><nvpair id="f" name="hostlist" value="n1 n2"/></instance_attributes>
  </primitive></group>
</resources></configuration></cib>""")
#: Debian 13, pacemaker 3.0.0, `stonith_admin --list pacemaker02 --output-as=xml`.
LIST = """<pacemaker-result api-version="2.38" request="stonith_admin --list pacemaker02 --output-as=xml">
  <list name="registered fence devices" count="2">
    <item name="device">Typo</item>
    <item name="device">Fencing</item>
  </list>
  <status code="0" message="OK"/>
</pacemaker-result>
"""
NONE = """<pacemaker-result api-version="2.38" request="stonith_admin --list nobody --output-as=xml">
  <list name="registered fence devices" count="0"/>
  <status code="0" message="OK"/>
</pacemaker-result>
"""


def device(**params: str) -> Device:
    return Device("D", "fence_xvm", params, True)


def test_devices_of_the_cib() -> None:
    found = stonith.devices(CIB)
    assert list(found) == ["Fencing", "Liar"]
    assert (found["Fencing"].agent, found["Fencing"].watched) == ("fence_xvm", True)
    assert (found["Liar"].agent, found["Liar"].watched) == ("null", False)


def test_the_key_file_of_the_first_device() -> None:
    assert stonith.key_file(CIB) == "/etc/cluster/own.key"
    assert stonith.key_file(ElementTree.fromstring("<cib/>")) == stonith.KEY


@pytest.mark.parametrize("text", ["n1:m1;n2:m2", "n1:m1 n2:m2;", " n2:m2\nn1:m1"])
def test_a_node_is_mapped_to_its_machine(text: str) -> None:
    assert [device(pcmk_host_map=text).port(name) for name in ("n1", "n2", "n3")] == ["m1", "m2", "n3"]


def test_a_machine_that_is_given_goes_before_the_map() -> None:
    assert device(port="m7", pcmk_host_map="n1:m1").port("n1") == "m7"


def test_what_the_agent_reads() -> None:
    asked = device(key_file="/k", pcmk_host_map="n1:m1", pcmk_delay_base="5s").request("status", "n1")
    assert asked == "action=status\nkey_file=/k\nport=m1\n"
    assert device(pcmk_host_argument="none").request("off", "n1") == "action=off\n"
    assert device(pcmk_host_argument="plug").request("off", "n1") == "action=off\nplug=n1\n"


def test_lists() -> None:
    assert stonith.parse_items(LIST) == ("Fencing", "Typo")
    assert stonith.parse_items(NONE) == ()
    with pytest.raises(StudentError):
        stonith.parse_items("stonith_admin: no")
