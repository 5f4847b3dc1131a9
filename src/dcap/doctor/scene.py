"""The machine as the doctor sees it: a root, an environment, an account, a clock. All are arguments.

A scratch root stands for a machine of any kind, so that what is wrong can be set up by hand: devices are
then plain files, processes are folders of `/proc`, units and packages the files that say so. Not here:
any judgement (`finding` and the checks).
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Literal, TypeAlias, TypeVar

import msgspec

from dcap.qpl.discovery_root import Root
from dcap.sources.need import MachineNeed
from dcap.verification.anchors import INTEL_SGX_ROOT, TrustAnchor

T = TypeVar("T")
Role: TypeAlias = Literal["attester", "verifier", "pccs"]
ROLES: tuple[Role, ...] = ("attester", "verifier", "pccs")


class Account(msgspec.Struct, frozen=True):
    """Who runs the programs that attest or verify: of the shell, or of a service."""

    name: str
    uid: int
    groups: frozenset[int]
    home: str


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """All that a check may look at.

    `roles` are what this machine is to be; `environ` is the shell's. `clock` is this machine's time.
    `timeout` bounds each step over the network, in seconds; with `offline` none is taken.
    """

    root: Root
    environ: Mapping[str, str]
    account: Account
    roles: frozenset[Role]
    clock: Callable[[], datetime]
    anchor: TrustAnchor = INTEL_SGX_ROOT
    timeout: float = 1.0
    offline: bool = False
    #: What identifies this machine to a cache, where it is known; a quote of it, where there is one.
    machine: MachineNeed | None = None
    quote: bytes | None = None

    def __repr__(self) -> str:
        return f"<Scene of {self.root.top}>"  # an environment may hold secrets

    def wants(self, *roles: Role) -> bool:
        """Whether the machine is to be one of these."""
        return not self.roles.isdisjoint(roles)


def once(look: Callable[[Scene], T]) -> Callable[[Scene], T]:
    """Look once in each scene: many checks ask the same, and what they conclude shall agree.

    Kept for the last scenes alone, each of which is one examination: who wants to look again makes
    another one (`msgspec.structs.replace`).
    """

    @lru_cache(maxsize=2)
    def looked(same: _Same) -> T:
        return look(same.scene)

    return lambda scene: looked(_Same(scene))


class _Same:
    """A scene that is itself and no other: its fields cannot be hashed."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.scene is self.scene

    def __hash__(self) -> int:
        return id(self.scene)
