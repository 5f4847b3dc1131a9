"""Processor, firmware, kernel: whether this machine has SGX or TDX, and whether it is switched on."""

from typing import Final

from dcap.doctor.examination import Check
from dcap.doctor.finding import Ailment

AILMENTS: Final[tuple[Ailment, ...]] = ()

CHECKS: Final[tuple[Check, ...]] = ()
