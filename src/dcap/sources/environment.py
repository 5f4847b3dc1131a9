"""Which sources this machine has: from names people write, its environment, and its files.

    source = from_environment()                                # what this machine is configured to
    source = from_environment(["https://cache:8081", "pcs"])   # in this order, the next if one fails

    pcs             Intel's PCS                        pcs:URL   another service that speaks as it does
    azure           Azure's caches, as Azure's client asks them (AZDCAP_… count)
    alibaba:REGION  Alibaba's PCCS of a region         qcnl      this machine's QCNL configuration
    qcnl:FILE       such a configuration               URL       a PCCS by its base, or Intel's PCS
    PATH            a folder of saved answers, a bundle, or dcap-qvl's JSON
    plugin          the quote provider library (libdcap_quoteprov.so) that Conclave would load, in a
                    process of its own; `bundled` where none is installed, or where it is dcap's
    plugin:PATH     that one                           bundled   dcap's own client, as without a name

Without names: `$DCAP_SOURCE` (commas between them), else the QCNL configuration where there is one
(`$QCNL_CONF_PATH`, else the system's file), else Azure's caches on a virtual machine of Azure's (its
firmware says so), else Intel's PCS; all but the variable is also what `bundled` means. Whatever comes
over the network is kept (`cache`) once it has been proven. `$DCAP_OFFLINE` keeps off the network: files
and the cache are left.

Not here: the sources themselves (`specs` makes them), and what their answers are worth.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dcap.qpl.qcnl_values import SYSTEM_PATH as SYSTEM_QCNL
from dcap.qpl.qcnl_values import VARIABLE as QCNL_FILE
from dcap.sources.clock import now
from dcap.sources.need import CollateralNeed, MachineNeed, Update
from dcap.sources.source import Accept, Fetched, FetchedPck, Source, scope_of
from dcap.sources.specs import Made, Maker, bundled
from dcap.verification.anchors import INTEL_SGX_ROOT, TrustAnchor

if TYPE_CHECKING:
    from dcap.sources.freshness import Freshness

VARIABLE = "DCAP_SOURCE"
#: The root of the system that is asked for its plugins, and in which cloud it runs.
MACHINE = Path("/")
OFFLINE = "DCAP_OFFLINE"
_NO = ("", "0", "false", "no")


class Configured(msgspec.Struct, frozen=True, kw_only=True):
    """A `Source`: `source`, and what else this machine's configuration says of it.

    `update` is the generation that is asked for unless somebody says otherwise, `by` who named the
    source: a flag, a variable, a file.
    """

    source: Source
    update: Update
    by: str

    @property
    def name(self) -> str:
        """For people and for errors."""
        return self.source.name

    @property
    def scope(self) -> str:
        """That of the source (`scope_of`)."""
        return scope_of(self.source)

    def collateral(self, need: CollateralNeed) -> Fetched:
        """The set of collateral for a need."""
        return self.source.collateral(need)

    def pck_certificate(self, need: MachineNeed, *, accept: Accept | None = None) -> FetchedPck:
        """The PCK certificate of a machine."""
        return self.source.pck_certificate(need, accept=accept)


def from_environment(
    specs: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    ca: Path | None = None,
    offline: bool | None = None,
    anchor: TrustAnchor = INTEL_SGX_ROOT,
    cache: bool = True,
    freshness: "Freshness | None" = None,
    clock: Callable[[], datetime] | None = None,
    at: datetime | None = None,
    timeout: float | None = None,
) -> Configured:
    """The source of this machine, or of `specs`, and who named it.

    Make it once: it keeps what it has fetched.

    `ca` is a file of certificates to trust for servers instead of the system's. With `offline` nothing
    is asked over the network. What is kept has been proven under `anchor`; its age is told by `clock`,
    this machine's, and whether it is in date at `at`, where that is not now. `timeout`: seconds for one
    request with all its attempts (30 where it is left out). The generation that a QCNL configuration
    asks for (`tcb_update_type`) is asked for where a verdict names none. Raises `ConfigError`.
    """
    if offline is None:
        offline = environ.get(OFFLINE, "").strip().lower() not in _NO
    names, by = _names(specs, environ)
    maker = Maker(
        environ, ca=ca, timeout=timeout, offline=offline, system=SYSTEM_QCNL, machine=MACHINE
    )
    made = [maker.make(name) for name in names]
    clock = clock or now
    judged_at = clock if at is None else lambda: at
    keep: Callable[[Source], Source] = lambda source: source  # noqa: E731
    if cache:
        keep = _keeper(environ, anchor, freshness, clock, judged_at)
    source = _in_order(made, keep, anchor, judged_at)
    return Configured(source=source, update=maker.update or "standard", by=by)


def _names(specs: Sequence[str] | None, environ: Mapping[str, str]) -> tuple[list[str], str]:
    """The names of the sources, in order, and who gave them."""
    if specs:
        return [spec.strip() for spec in specs], "--source"
    given = [name.strip() for name in environ.get(VARIABLE, "").split(",") if name.strip()]
    if given:
        return given, VARIABLE
    name = bundled(environ, system=SYSTEM_QCNL, machine=MACHINE)
    return [name], environ.get(QCNL_FILE, str(SYSTEM_QCNL)) if name == "qcnl" else "default"


def _keeper(
    environ: Mapping[str, str],
    anchor: TrustAnchor,
    freshness: "Freshness | None",
    clock: Callable[[], datetime],
    judged_at: Callable[[], datetime],
) -> Callable[[Source], Source]:
    from dcap.sources.cache import CachedSource  # noqa: PLC0415 - only what is used
    from dcap.sources.disk import cache_directory  # noqa: PLC0415
    from dcap.sources.freshness import Freshness  # noqa: PLC0415

    return lambda source: CachedSource(
        source,
        directory=cache_directory(environ),
        anchor=anchor,
        freshness=freshness or Freshness(),
        clock=clock,
        judged_at=judged_at,
    )


def _in_order(
    made: Sequence[Made],
    keep: Callable[[Source], Source],
    anchor: TrustAnchor,
    judged_at: Callable[[], datetime],
) -> Source:
    """One source of all. Neighbours on the network share a cache; files are read each time."""
    from dcap.sources.first_of import FirstOf  # noqa: PLC0415 - only what is used
    from dcap.sources.kept import proves  # noqa: PLC0415

    accept = proves(anchor=anchor, clock=judged_at)
    groups: list[list[Made]] = []
    for one in made:
        if groups and groups[-1][0].remote and one.remote:
            groups[-1].append(one)
        else:
            groups.append([one])
    sources: list[Source] = []
    for group in groups:
        members = [one.source for one in group]
        joint = members[0] if len(members) == 1 else FirstOf(members, accept=accept)
        sources.append(keep(joint) if group[0].remote else joint)
    return sources[0] if len(sources) == 1 else FirstOf(sources, accept=accept)
