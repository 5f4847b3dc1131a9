"""A quoting daemon as this machine shows it: its unit, whether it is enabled, its process, its account.

    aesmd = daemon_facts(scene, "aesmd")
    aesmd.is_installed, aesmd.is_enabled, aesmd.service

Not here: what its socket answers (`aesm_answer`), what is wrong with it (`daemons`).
"""

import msgspec

from dcap.doctor.accounts import account_named
from dcap.doctor.finding import Finding, Mend, Remarks, Right, Skipped
from dcap.doctor.nodes import ENCLAVE, PROVISION, Node, first_node, groups
from dcap.doctor.scene import Account, Scene
from dcap.doctor.services import Service, services
from dcap.doctor.units import FOLDERS, Unit, unit_named
from dcap.qpl.discovery_root import Root


class DaemonFacts(msgspec.Struct, frozen=True):
    """`service` is its process where one runs, else what its unit would make; `account` whose it is."""

    name: str
    unit: Unit | None
    is_enabled: bool
    service: Service | None
    account: Account | None

    @property
    def is_installed(self) -> bool:
        """Whether there is a unit, or a process without one."""
        return self.unit is not None or self.is_running

    @property
    def is_running(self) -> bool:
        """Whether its process is to be seen."""
        return self.service is not None and self.service.pid is not None

    @property
    def start(self) -> str:
        """The command that starts it, whatever its unit is like."""
        if self.unit is None:
            return f"start {self.name}"
        if self.unit.masked:
            return f"`sudo systemctl unmask {self.name} && sudo systemctl enable --now {self.name}`"
        return f"`sudo systemctl enable --now {self.name}`"

    @property
    def evidence(self) -> tuple[str, ...]:
        """What was seen of it, a line each."""
        if self.unit is None:
            told = f"{self.name}.service: no such unit"
        else:
            state = (
                "masked" if self.unit.masked else "enabled" if self.is_enabled else "not enabled"
            )
            told = f"{self.unit.files[0]}: {state}"
        pid = self.service.pid if self.service is not None else None
        return told, f"process {pid}" if pid is not None else "no process of it is to be seen"


def daemon_facts(scene: Scene, name: str) -> DaemonFacts:
    """All of it, where it is installed or not."""
    unit = unit_named(scene.root, name)
    service = next((each for each in services(scene) if each.name == name), None)
    account = service.account if service is not None else None
    if account is not None and unit is not None:
        account = _with_more_groups(scene.root, account, unit)
    return DaemonFacts(name, unit, _is_enabled(scene.root, name), service, account)


def closed_to(scene: Scene, account: Account) -> list[Node]:
    """The SGX devices that are here, and that an account may not open."""
    nodes = (first_node(scene.root, names) for names in (ENCLAVE, PROVISION))
    return [node for node in nodes if node is not None and node.access(account) == "none"]


def _is_enabled(root: Root, name: str) -> bool:
    return any(
        f"{name}.service" in root.names(f"{folder}/{wanted}")
        for folder in FOLDERS
        for wanted in root.names(folder)
        if wanted.endswith((".wants", ".requires"))
    )


def _with_more_groups(root: Root, account: Account, unit: Unit) -> Account:
    """The account with those that its unit adds, and its group by the unit."""
    known = groups(root)
    named = (*unit.every("SupplementaryGroups"), *unit.every("Group"))
    more = {known[name][0] for name in named if name in known}
    fresh = account_named(root, account.name)
    mine = account.groups if fresh is None else account.groups | fresh.groups
    return msgspec.structs.replace(account, groups=frozenset({*mine, *more}))


def rights(scene: Scene, daemon: DaemonFacts, whose: str, code: str, log: Mend) -> Remarks:
    """Whether the daemon's own account may open the devices."""
    if daemon.account is None:
        yield Skipped(f"{whose}'s right to the devices", "its account is not known")
        return
    name, closed = daemon.account.name, closed_to(scene, daemon.account)
    if not closed:
        yield Right(f"{whose}'s account, {name}, may open the SGX devices")
        return
    group = closed[-1].group if closed[-1].group_may else "sgx_prv"
    yield Finding(
        code,
        f"{whose}'s account, {name}, may not open {' and '.join(each.path for each in closed)}",
        tuple(map(str, closed)),
        (Mend(f"`sudo usermod -aG {group} {name} && sudo systemctl restart {daemon.name}`"), log),
    )
