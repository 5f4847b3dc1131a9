"""A TDX guest's own roads to a quote: module, configfs-tsm, `/etc/tdx-attest.conf`."""

from typing import Final

from dcap.doctor.examination import Check
from dcap.doctor.finding import Ailment

AILMENTS: Final[tuple[Ailment, ...]] = ()

CHECKS: Final[tuple[Check, ...]] = ()
