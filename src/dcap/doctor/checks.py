"""All checks, in the order in which they are made and told; and every ailment that they can find.

A family is a module with `CHECKS` and `AILMENTS`. Not here: how an examination goes (`examination`).
"""

from typing import Final

from dcap.doctor import (
    caches,
    clock,
    configuration,
    container,
    daemons,
    devices,
    machine,
    network,
    pccs_service,
    plugins,
    requests,
    surroundings,
    tcb,
    tdx_guest,
)
from dcap.doctor.examination import Check
from dcap.doctor.finding import Ailment

#: From what has to be there first to what stands on it.
FAMILIES: Final = (
    machine,
    devices,
    container,
    daemons,
    tdx_guest,
    plugins,
    configuration,
    surroundings,
    clock,
    network,
    requests,
    caches,
    tcb,
    pccs_service,
)

CHECKS: Final[tuple[Check, ...]] = tuple(check for family in FAMILIES for check in family.CHECKS)
AILMENTS: Final[dict[str, Ailment]] = {
    ailment.code: ailment for family in FAMILIES for ailment in family.AILMENTS
}
