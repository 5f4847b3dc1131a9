"""Floor 6: where collateral comes from. The first floor that may open anything.

    source = dcap.sources.from_environment()

Names are loaded when first used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcap.sources.environment import from_environment

__all__ = ["from_environment"]


def __getattr__(name: str) -> object:
    if name != "from_environment":
        raise AttributeError(f"module 'dcap.sources' has no attribute {name!r}")
    from dcap.sources.environment import from_environment as found  # noqa: PLC0415 - when first used

    return found
