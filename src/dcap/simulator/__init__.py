"""A simulated Intel and simulated machines: real bytes, signed by keys that are nobody's.

Floor 8. It shares `formats` and `api` with the verifier and nothing else: simulator and verifier
never import each other, so that a misreading in one is not mirrored in the other.
"""

from dcap.simulator.platform import Platform
from dcap.simulator.world import World

__all__ = ["Platform", "World"]
