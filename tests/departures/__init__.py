"""One thing at a time in which a simulated world departs from the truth: what the tests stand on.

`World` asks `dcap.simulator` for everything and, where a test names a departure, writes that one
thing again through the writers of `dcap.formats`, signed by the simulator's keys. It trusts nothing
and checks nothing; what it gives without arguments is the simulator's own, byte for byte
(`test_departures`). Not here: departures with a name and a finding (`dcap.simulator.faults`).
"""

from departures.documents import components_of, isvsvn_level, module, module_identity, tcb_level
from departures.issued import Issued, Pck, extension, oid
from departures.quotes import Lengths
from departures.world import COLLATERAL_MEMBERS, FMSPC, World

__all__ = [
    "COLLATERAL_MEMBERS",
    "FMSPC",
    "Issued",
    "Lengths",
    "Pck",
    "World",
    "components_of",
    "extension",
    "isvsvn_level",
    "module",
    "module_identity",
    "oid",
    "tcb_level",
]
