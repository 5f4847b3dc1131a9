"""The environment of the services as well as of the shell: HOME, cache folders and owners, proxies."""

from typing import Final

from dcap.doctor.examination import Check
from dcap.doctor.finding import Ailment

AILMENTS: Final[tuple[Ailment, ...]] = ()

CHECKS: Final[tuple[Check, ...]] = ()
