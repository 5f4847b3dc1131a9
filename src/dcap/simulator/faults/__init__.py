"""Departures from the truth, by name: each with the code of the check that must notice it.

    from dcap.simulator import World
    from dcap.simulator.faults import FAULTS

    fault = FAULTS["pck-revoked"]
    case = fault.make(World())      # case.quote, case.collateral, case.at
    fault.finding                   # "pck-revocation"

In the order of a verifier's procedure. `ODDITIES` are departures that must *not* matter. Faults on
the wire (slow, cut off, wrong headers) are the servers' (`dcap.simulator`), not these.
"""

from dcap.simulator.faults import (
    certificate_faults,
    collateral_faults,
    evidence_faults,
    identity_faults,
    oddities,
    quote_faults,
    tcb_faults,
)
from dcap.simulator.faults.fault import Fault
from dcap.simulator.faults.scene import Case, Setting

__all__ = ["FAULTS", "ODDITIES", "Case", "Fault", "Setting"]

#: Every fault by its name.
FAULTS: dict[str, Fault] = {
    fault.name: fault
    for step in (
        evidence_faults,
        collateral_faults,
        certificate_faults,
        quote_faults,
        tcb_faults,
        identity_faults,
    )
    for fault in step.FAULTS
}
#: What is odd and harmless: a verifier that refuses one of these is wrong.
ODDITIES: dict[str, Fault] = {oddity.name: oddity for oddity in oddities.ODDITIES}
