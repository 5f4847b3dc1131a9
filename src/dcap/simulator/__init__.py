"""A simulated Intel and simulated machines: real bytes, signed by keys that are nobody's.

Floor 8. It shares `formats` and `api` with the verifier and nothing else: simulator and verifier
never import each other, so that a misreading in one is not mirrored in the other. Names are loaded
when first used: pytest imports this package at every start (`pytest_plugin`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcap.simulator.platform import Platform
    from dcap.simulator.world import World

_HOMES = {"Platform": "dcap.simulator.platform", "World": "dcap.simulator.world"}

__all__ = ["Platform", "World"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'dcap.simulator' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
