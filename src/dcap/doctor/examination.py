"""A check, and the examination: each check that concerns the machine, one after the other.

A check is a function of the scene. It says what it saw and never raises: a file that cannot be read is a
finding, and so is a server that does not answer. Not here: which checks there are (`checks`).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import msgspec

from dcap.doctor.finding import Remark, Remarks
from dcap.doctor.scene import ROLES, Role, Scene

Look: TypeAlias = Callable[[Scene], Remarks]


class Check(msgspec.Struct, frozen=True):
    """One thing to look at: its name (a word or two, for people and `--json`), how, and for whom."""

    name: str
    look: Look
    roles: tuple[Role, ...] = ROLES


def examine(scene: Scene, checks: Iterable[Check]) -> Iterator[tuple[Check, Remark]]:
    """What each check that concerns the scene's roles says, in order."""
    for check in checks:
        if scene.wants(*check.roles):
            for remark in check.look(scene):
                yield check, remark
