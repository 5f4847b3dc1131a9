"""The age of what a service hands out: collateral that has ended is refused by every verifier.

Intel's client keeps and hands on whatever comes, so that the verdict says it, far from the cause. Not
here: what lies in caches of this machine (`caches`), whether it is genuine (`tcb`).

Source: `quote-provider.md` §6 row 12; `pccs-and-pcs-api.md` §2.2, §5 (Azure).
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from dcap.doctor.addresses import Asked
from dcap.doctor.finding import Finding, Mend
from dcap.doctor.replay import Replay
from dcap.doctor.scene import Scene
from dcap.errors import FormatError
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO
from dcap.formats.crl import Crl
from dcap.formats.enclave_identity import EnclaveIdentity
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_info import TcbInfo

_AZURES: Final = ".azure.net"
_DAY: Final = "%Y-%m-%d %H:%M UTC"


def ended(scene: Scene, place: Asked, good: list[Replay]) -> Iterator[Finding]:
    """One finding for all that one service hands out past its end."""
    now = scene.clock()
    past = [(replay, end) for replay in good if (end := end_of(replay)) is not None and end <= now]
    if not past:
        return
    names = ", ".join(f"{replay.request.name} (ended {end:{_DAY}})" for replay, end in past)
    host = place.address.host if place.address else ""
    renew = Mend(f"have it renewed: `dcap pccs refresh --url {place.address}`, or by its operator")
    own = Mend(
        "Azure hands out an older baseline on purpose: to judge by Intel's newest, `sudo dcap qcnl "
        "write --intel-pcs`, or `dcap verify --source pcs`"
    )
    ours = Mend("if it says otherwise, look at this machine's clock: `timedatectl`")
    yield Finding(
        "served-expired",
        f"{place.shown} hands out what has ended: {names}",
        tuple(replay.evidence for replay, _ in past),
        (own if host.endswith(_AZURES) else renew, ours),
    )


def end_of(replay: Replay) -> datetime | None:
    """When what came ends; `None` where it has no end, or cannot be read."""
    body = b"" if replay.response is None else replay.response.body
    try:
        match replay.request.piece:
            case "tcb_info":
                return TcbInfo.parse(SignedJson.parse(body, TCB_INFO).body).next_update
            case "qe_identity":
                identity = SignedJson.parse(body, ENCLAVE_IDENTITY).body
                return EnclaveIdentity.parse(identity).next_update
            case "pck_crl" | "root_ca_crl":
                return Crl.parse(body).next_update
    except FormatError:
        pass
    return None
