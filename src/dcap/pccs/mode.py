"""The caching fill modes: what a PCCS does where it has nothing, as a table.

Each row obeys Intel's server as it was measured, but for what that one meant to do and does not
(`reg_na`). Not here: who acts on it (`service`, `registration`, `refresh`).

Source: Intel PCCS design guide, "Caching fill mode"; `pccs-and-pcs-api.md` §2.1.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

import msgspec


class Mode(Enum):
    """How the cache is filled."""

    LAZY = "LAZY"
    REQ = "REQ"
    OFFLINE = "OFFLINE"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """One mode. A cause names what is answered where nothing is fetched (`causes`).

    `fetches_platforms`  an unknown machine that asks for its certificate is looked up
    `unknown_platform`   … else this is the cause
    `fetches_items`      collateral that is missing, or has expired, is fetched for who asks
    `missing_item`       … else this is the cause
    `missing_v3`         the cause where version 3 has nothing: nobody serves it upstream any more
    `queues`             a machine that registers stands in the queue until it was fetched
    `fetches_registered` a machine that registers is fetched at once
    `fills_common`       … and lists and identities that are missing too
    `refreshes`          what is kept is renewed, by request and by schedule
    """

    fetches_platforms: bool
    unknown_platform: str = "unknown-platform"
    fetches_items: bool
    missing_item: str = "not-cached"
    missing_v3: str
    queues: bool
    fetches_registered: bool
    fills_common: bool
    refreshes: bool


RULES: Final[Mapping[Mode, Rules]] = {
    Mode.LAZY: Rules(
        fetches_platforms=True,
        fetches_items=True,
        missing_v3="v3-ended",
        queues=False,
        fetches_registered=True,
        fills_common=True,
        refreshes=True,
    ),
    Mode.REQ: Rules(
        fetches_platforms=False,
        fetches_items=False,
        missing_v3="not-cached",
        queues=True,
        fetches_registered=True,
        fills_common=True,
        refreshes=True,
    ),
    Mode.OFFLINE: Rules(
        fetches_platforms=False,
        fetches_items=False,
        missing_v3="not-cached",
        queues=True,
        fetches_registered=False,
        fills_common=False,
        refreshes=False,
    ),
}
