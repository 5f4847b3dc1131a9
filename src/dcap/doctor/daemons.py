"""AESM and QGS: sockets, units, packages of two generations mixed, what they answer."""

from typing import Final

from dcap.doctor.examination import Check
from dcap.doctor.finding import Ailment

AILMENTS: Final[tuple[Ailment, ...]] = ()

CHECKS: Final[tuple[Check, ...]] = ()
