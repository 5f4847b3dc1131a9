"""What happens in a world, as values: each event is one frozen struct, and JSON, and can be replayed.

    RecoveryAnnounced().apply(world)
    StatusSet("OutOfDate", platform="node-1").apply(world)

An event that cannot happen (a promotion without an announcement, a machine that is not there) raises
`ConfigError` (`simulator-event`) and changes nothing. All dates are the world's clock. Not here:
where events are kept (`state`), and departures from the truth (`faults`): after every event the
world is still consistent and genuine.

Source: `pccs-and-pcs-api.md` §5 (early and standard, 410); `verification.md` §3, §6.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from dcap.errors import ConfigError
from dcap.simulator.intel import Revocation
from dcap.simulator.tcb_model import Rung

if TYPE_CHECKING:
    from dcap.simulator.platform import Platform
    from dcap.simulator.world import World

Status: TypeAlias = Literal[
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "TDRelaunchAdvised",
    "TDRelaunchAdvisedConfigurationNeeded",
    "Revoked",
    "TCB_NOT_SUPPORTED",
]
Part: TypeAlias = Literal["all", "microcode", "qe", "module"]
StatusOf: TypeAlias = Literal["platform", "qe", "module"]
Trait: TypeAlias = Literal["registered", "cached-keys", "smt", "dynamic"]
#: The machine of whoever names none.
MACHINE = "machine"
#: Trait -> attribute of a platform.
_TRAITS: dict[Trait, str] = {
    "registered": "registered",
    "cached-keys": "cached_keys",
    "smt": "smt_enabled",
    "dynamic": "dynamic_platform",
}
#: Advisories of recoveries: beyond every number that Intel has given out.
_ADVISORY = "INTEL-SA-{:05d}"
_FIRST_ADVISORY = 90000
_HIGHEST_SVN = 255
_LAST_INSTANT = datetime(2200, 1, 1, tzinfo=UTC)
_FIRST_INSTANT = datetime(2019, 1, 1, tzinfo=UTC)


def _name(class_name: str) -> str:
    """`PckRevoked` is the event pck-revoked."""
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in class_name).lstrip("-")


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class _Event(
    msgspec.Struct,
    frozen=True,
    tag_field="event",
    tag=_name,
    forbid_unknown_fields=True,
):
    """Something that happens at one instant of a world."""

    def apply(self, world: "World") -> None:
        """Let it happen now."""
        raise NotImplementedError


class PlatformAdded(_Event, frozen=True):
    """A machine is put up: of several packages, unless its CA is processor."""

    platform: str = MACHINE
    ca: Literal["platform", "processor"] = "platform"
    fmspc: str | None = None
    #: What a machine of several packages has unless it is named here.
    without: tuple[Trait, ...] = ()

    def apply(self, world: "World") -> None:
        """Make it, on the newest rung of the standard generation."""
        if not _NAME.fullmatch(self.platform):
            raise _impossible("a platform's name is 1 to 64 letters, digits, points and hyphens")
        if self.platform in world.platforms:
            raise _impossible(f"there is a platform {self.platform!r} already")
        if self.without and self.ca != "platform":
            raise _impossible(
                f"a machine of one package has no {', '.join(self.without)}",
                "only machines of the Platform CA have it, or not",
            )
        machine = world.platform(self.platform, ca=self.ca, fmspc=self._fmspc())
        for trait in self.without:
            setattr(machine, _TRAITS[trait], False)

    def _fmspc(self) -> bytes | None:
        try:
            given = None if self.fmspc is None else bytes.fromhex(self.fmspc)
        except ValueError:
            given = b""
        if given is not None and len(given) != 6:
            raise _impossible(f"{self.fmspc!r} is no FMSPC", "an FMSPC has 12 hex digits")
        return given


class PlatformRegistered(_Event, frozen=True):
    """A machine that was added without being registered sends its manifest to Intel."""

    platform: str = MACHINE

    def apply(self, world: "World") -> None:
        """Intel knows it from now on; sending it twice does no harm."""
        _multi_package(world, self.platform).registered = True


class RecoveryAnnounced(_Event, frozen=True):
    """A TCB recovery is disclosed: whoever asks for early collateral sees a new top level."""

    def apply(self, world: "World") -> None:
        """A new generation, early only; its advisory follows from its number."""
        intel = world.intel
        last = intel.generations[intel.early]
        if last.platform[0].svn == _HIGHEST_SVN:
            raise _impossible("an SVN is one byte: there is no room for another recovery")
        advisory = _ADVISORY.format(_FIRST_ADVISORY + last.number + 1)
        fresh = last.recovered(_whole_seconds(world.at), advisory)
        intel.generations[fresh.number] = fresh
        intel.early = fresh.number


class RecoveryPromoted(_Event, frozen=True):
    """The announced recovery becomes standard: everybody is judged by it."""

    def apply(self, world: "World") -> None:
        """Standard is what early was."""
        if world.intel.standard == world.intel.early:
            raise _impossible("no recovery is waiting", "announce one: recovery-announced")
        world.intel.standard = world.intel.early


class EvaluationNumberRetired(_Event, frozen=True):
    """Intel drops a TCB evaluation data number, and every one below it: asked for, it is 410 Gone."""

    #: The oldest on offer, where none is given.
    number: int | None = None

    def apply(self, world: "World") -> None:
        """Offer only what is above it."""
        intel = world.intel
        offered = [number for number in intel.generations if number >= intel.retired_below]
        number = min(offered) if self.number is None else self.number
        if number not in offered:
            raise _impossible(f"number {number} is not on offer", f"on offer: {sorted(offered)}")
        if number >= intel.standard:
            raise _impossible(
                f"number {number} is the standard", "promote a newer one first: recovery-promoted"
            )
        intel.retired_below = number + 1


class PckRevoked(_Event, frozen=True):
    """A machine's PCK certificates are revoked by its CA: of its TCB of now, and of those below."""

    platform: str = MACHINE

    def apply(self, world: "World") -> None:
        """Put their serials on the CA's list, those that are not there yet."""
        machine = _platform(world, self.platform)
        there = {entry.serial for entry in world.intel.revoked[machine.ca]}
        serials = {issued.certificate.serial for issued in machine.issued()} - there
        if not serials:
            raise _impossible("every PCK certificate of this machine is revoked already")
        for serial in sorted(serials):
            _revoke(world, machine.ca, serial, "this PCK certificate")


class IntermediateRevoked(_Event, frozen=True):
    """The root revokes a CA, or the TCB signing certificate of the day."""

    ca: Literal["platform", "processor", "tcb-signing"] = "platform"

    def apply(self, world: "World") -> None:
        """Put its serial on the root's list, and issue that list anew."""
        intel = world.intel
        revoked = intel.tcb_signing if self.ca == "tcb-signing" else intel.pck_ca(self.ca)
        _revoke(world, "root", revoked.certificate.serial, "this certificate")
        intel.root_crl_issued = _whole_seconds(world.at)


class SignerRotated(_Event, frozen=True):
    """TCB infos and identities are signed by a new certificate; what was signed stays good."""

    def apply(self, world: "World") -> None:
        """The next key."""
        world.intel.signer_number += 1


class CrlReissued(_Event, frozen=True):
    """All revocation lists are issued anew, with a higher number and the same entries."""

    def apply(self, world: "World") -> None:
        """New lists, the root's from this instant."""
        world.intel.crl_reissues += 1
        world.intel.root_crl_issued = _whole_seconds(world.at)


class PlatformUpdated(_Event, frozen=True):
    """A machine gets the newest microcode, QE or TDX module, early ones too; its TDs are relaunched."""

    platform: str = MACHINE
    part: Part = "all"
    #: Without it, a TD goes on running under the TCB it was launched with.
    relaunch: bool = True

    def apply(self, world: "World") -> None:
        """Raise its SVNs to the top of their ladders."""
        machine = _platform(world, self.platform)
        newest = world.intel.generation("early")
        if self.part in ("all", "microcode"):
            machine.svn = machine.td_svn_now = newest.platform[0].svn
        if self.part in ("all", "qe"):
            machine.qe_svn = newest.qe[0].svn
        if self.part in ("all", "module"):
            ladder = _module_ladder(world, machine, "early")
            machine.module_now = (ladder[0].svn, machine.module_now[1])
        if self.relaunch:
            machine.td_svn, machine.module = machine.td_svn_now, machine.module_now


class PlatformReregistered(_Event, frozen=True):
    """A package was changed: the machine registers again and is another platform instance."""

    platform: str = MACHINE

    def apply(self, world: "World") -> None:
        """A new platform instance id, manifest and certificates."""
        _multi_package(world, self.platform).package += 1


class StatusSet(_Event, frozen=True):
    """A machine, its QE or its TDX module is put on the level of a TCB status."""

    status: Status
    platform: str = MACHINE
    part: StatusOf = "platform"

    def apply(self, world: "World") -> None:
        """Set the SVNs at which the standard generation says so."""
        machine = _platform(world, self.platform)
        generation = world.intel.generation()
        if self.part == "platform":
            relaunch = self.status.startswith("TDRelaunchAdvised")
            known = {rung.status for rung in generation.platform}
            if not relaunch and self.status != "TCB_NOT_SUPPORTED" and self.status not in known:
                raise self._absent(generation.platform)
            machine.set_status(self.status)
        elif self.part == "qe":
            machine.qe_svn = self._svn(generation.qe)
        else:
            svn = self._svn(_module_ladder(world, machine, "standard"))
            machine.module = machine.module_now = (svn, machine.module[1])

    def _svn(self, ladder: tuple[Rung, ...]) -> int:
        for rung in ladder:
            if rung.status == self.status:
                return rung.svn
        raise self._absent(ladder)

    def _absent(self, ladder: tuple[Rung, ...]) -> ConfigError:
        offered = ", ".join(dict.fromkeys(rung.status for rung in ladder))
        return _impossible(f"no level is {self.status} now", f"there are {offered}")


class ClockSet(_Event, frozen=True):
    """The world's clock shows this instant, earlier or later."""

    at: datetime

    def apply(self, world: "World") -> None:
        """Set it, to the second."""
        if self.at.tzinfo is None:
            raise _impossible("an instant without a zone", "write it in UTC: 2026-01-31T12:00:00Z")
        _set_clock(world, self.at.astimezone(UTC))


class ClockAdvanced(_Event, frozen=True):
    """So many seconds pass; a negative number goes back."""

    seconds: int

    def apply(self, world: "World") -> None:
        """Move the clock."""
        try:
            moved = world.at + timedelta(seconds=self.seconds)
        except OverflowError:
            moved = datetime.max.replace(tzinfo=UTC)
        _set_clock(world, moved)


Event: TypeAlias = (
    PlatformAdded
    | PlatformRegistered
    | RecoveryAnnounced
    | RecoveryPromoted
    | EvaluationNumberRetired
    | PckRevoked
    | IntermediateRevoked
    | SignerRotated
    | CrlReissued
    | PlatformUpdated
    | PlatformReregistered
    | StatusSet
    | ClockSet
    | ClockAdvanced
)
#: Name -> event, in the order in which a life goes.
EVENTS: dict[str, type[Event]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (
        PlatformAdded,
        PlatformRegistered,
        RecoveryAnnounced,
        RecoveryPromoted,
        EvaluationNumberRetired,
        PlatformUpdated,
        StatusSet,
        PlatformReregistered,
        PckRevoked,
        IntermediateRevoked,
        SignerRotated,
        CrlReissued,
        ClockSet,
        ClockAdvanced,
    )
}


def make_event(name: str, fields: dict[str, object]) -> Event:
    """An event by its name. Raises `ConfigError` where name, fields or values are wrong."""
    kind = EVENTS.get(name)
    if kind is None:
        raise _impossible(f"there is no event {name[:40]!r}", f"there are {', '.join(EVENTS)}")
    try:
        return msgspec.convert({"event": name, **fields}, kind)
    except msgspec.ValidationError as error:
        known = ", ".join(kind.__struct_fields__) or "none"
        raise _impossible(f"{name}: {error}", f"its fields: {known}") from None


def _platform(world: "World", name: str) -> "Platform":
    """A machine that is there: one that is mistyped must not be made in passing."""
    if name not in world.platforms:
        there = ", ".join(world.platforms) or "none yet"
        raise _impossible(
            f"there is no platform {name!r}", f"there are: {there}; platform-added makes one"
        )
    return world.platforms[name]


def _multi_package(world: "World", name: str) -> "Platform":
    machine = _platform(world, name)
    if machine.ca != "platform":
        raise _impossible(
            f"{name!r} has one package",
            "only machines of the Platform CA have a manifest to register",
        )
    return machine


def _module_ladder(world: "World", machine: "Platform", update: str) -> tuple[Rung, ...]:
    modules = world.intel.generation(update).modules
    name = f"TDX_{machine.module[1]:02d}"
    if name not in modules:
        raise _impossible(f"no TDX module {name} is known", f"there are {', '.join(modules)}")
    return modules[name]


def _revoke(world: "World", revoker: str, serial: int, what: str) -> None:
    entries = world.intel.revoked[revoker]
    if any(entry.serial == serial for entry in entries):
        raise _impossible(f"{what} is revoked already")
    entries.append(Revocation(serial, _whole_seconds(world.at)))


def _set_clock(world: "World", at: datetime) -> None:
    """Within the life of the certificates' dates, and what a document can state: whole seconds."""
    if not _FIRST_INSTANT <= at < _LAST_INSTANT:
        raise _impossible("the clock would leave the years 2019 to 2199")
    world.at = _whole_seconds(at)


def _whole_seconds(at: datetime) -> datetime:
    return at.replace(microsecond=0)


def _impossible(what: str, mend: str = "") -> ConfigError:
    return ConfigError("simulator-event", what, mend=mend)
