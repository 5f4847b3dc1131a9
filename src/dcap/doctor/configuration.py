"""What Intel's provider is configured to, as it really reads it: `qcnl.conf` and its neighbours."""

from typing import Final

from dcap.doctor.examination import Check
from dcap.doctor.finding import Ailment

AILMENTS: Final[tuple[Ailment, ...]] = ()

CHECKS: Final[tuple[Check, ...]] = ()
