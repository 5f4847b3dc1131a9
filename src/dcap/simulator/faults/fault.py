"""A fault: one named departure from the truth, and the code of the check that must notice it.

    case = FAULTS["quote-cut-by-one-byte"].make(world)

The code is a word: nothing here knows a verifier.
"""

from collections.abc import Callable

import msgspec

from dcap.simulator.faults.scene import Case, Scene, Setting
from dcap.simulator.world import World


class Fault(msgspec.Struct, frozen=True):
    """One departure. `finding` is what it must trip, `also` what cannot but fail with it.

    `sentence` says what is wrong. `policy_hint` are lines of a policy (TOML) that the relying party
    must have written for the fault to matter; the truth passes under the same policy.
    """

    name: str
    finding: str
    sentence: str
    departure: Callable[[Scene], Case]
    setting: Setting = Setting()
    also: tuple[str, ...] = ()
    policy_hint: str = ""

    def make(self, world: World) -> Case:
        """The faulty case. The world stays as it is."""
        return self.departure(Scene(world, self.setting))

    def truth(self, world: World) -> Case:
        """The same case without the fault."""
        return Scene(world, self.setting).truth()

    @property
    def policy(self) -> str:
        """A whole policy under which the truth is accepted and the fault is not."""
        anyone = "" if "[[release]]" in self.policy_hint else 'identity = "any"\n'
        return anyone + self.policy_hint


SINGLE = Setting(ca="processor")
TDX = Setting(tee="TDX")
TDX15 = Setting(tee="TDX", version=5, body_type=3)
