"""One layer around a quote, taken off: what all readers of containers give back.

Not here: which layers there are and in which order they are tried (`containers`).
"""

from datetime import datetime

import msgspec

from dcap.formats.collateral import Collateral
from dcap.formats.origin import Origin


class Binding(msgspec.Struct, frozen=True, gc=False):
    """What a container says the quote's report data must START with, and what that stands for.

    Nobody has compared it with the quote yet: a container whose binding does not hold carries
    claims or keys that the quote does not vouch for.
    """

    name: str
    report_data: bytes


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a container says of its own making: when, and from where its collateral came.

    Claims of whoever wrote it: nothing signs them.
    """

    at: datetime
    origins: tuple[Origin, ...] = ()
    remarks: tuple[str, ...] = ()


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """What was inside. `names` are the layers taken off, outermost first.

    `holds_quote` says that the format itself calls `content` the quote, so it is not asked what
    else it could be.
    """

    names: tuple[str, ...]
    content: bytes
    holds_quote: bool = False
    bindings: tuple[Binding, ...] = ()
    collateral: Collateral | None = None
    record: Record | None = None
    facts: dict[str, str] = {}
