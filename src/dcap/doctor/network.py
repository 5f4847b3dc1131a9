"""Each address that is asked, step by step: name, TCP, TLS and its certificate, HTTP."""

from typing import Final

from dcap.doctor.examination import Check
from dcap.doctor.finding import Ailment

AILMENTS: Final[tuple[Ailment, ...]] = ()

CHECKS: Final[tuple[Check, ...]] = ()
