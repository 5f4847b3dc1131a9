"""Which attester this machine has: all of them looked at, in a fixed order, and the first that serves.

    attester = choose(Surroundings.here())          # or: name="aesm", reporter=…
    quote = attester.quote(padded(report_data))

The order goes from what can only be there on purpose to what needs most besides: an enclave's own files;
a TD by the road that its administrator configured, by the kernel's present one, by its older one; and,
where only an enclave can make the report that is signed, Intel's library before Intel's daemon. Looking
writes nothing, loads nothing and asks for no quote. Not here: any attester; simulated machines, which
are never chosen.

Source: `quote-provider.md` §5.3-5.7.
"""

import errno
import os
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from dcap.attester import gramine
from dcap.attester.aesm import AesmAttester
from dcap.attester.attester import Attester, Description, Reporter
from dcap.attester.configfs_tsm import ConfigfsTsmAttester
from dcap.attester.dcap_ql import DcapQlAttester
from dcap.attester.gramine import GramineAttester
from dcap.attester.qgs import QgsAttester
from dcap.attester.surroundings import Surroundings
from dcap.attester.tdx_guest import TdxGuestAttester
from dcap.errors import AttesterError, ConfigError

__all__ = ["NAMES", "Decision", "Surroundings", "choose", "decide", "described"]

_Found = Callable[[Surroundings, Reporter | None], Attester]

#: In the order in which they are taken.
_ATTESTERS: Final[Mapping[str, _Found]] = {
    "gramine": GramineAttester.found,
    "tdx-qgs": lambda surroundings, _: QgsAttester(surroundings),
    "configfs-tsm": lambda surroundings, _: ConfigfsTsmAttester(surroundings),
    "tdx-guest": lambda surroundings, _: TdxGuestAttester(surroundings),
    "dcap-ql": DcapQlAttester.found,
    "aesm": AesmAttester.found,
}
NAMES: Final = tuple(_ATTESTERS)
_ABSENT: Final = os.strerror(errno.ENOENT)
_MEND: Final = (
    "run it in what is to be attested: in the enclave (Gramine), in the TD, or, with --reporter, beside "
    "an enclave; `dcap doctor --for attester` says what this machine lacks; for tests, --insecure-sim"
)


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Which attester, and why, in a few words."""

    attester: Attester
    why: str


def described(
    surroundings: Surroundings, *, reporter: Reporter | None = None
) -> tuple[Description, ...]:
    """Every attester, in the order in which they are taken, as it is found here."""
    return tuple(attester.describe() for attester in _all(surroundings, reporter))


def choose(
    surroundings: Surroundings, *, reporter: Reporter | None = None, name: str | None = None
) -> Attester:
    """The first attester that serves here, or the one that is named. Raises as `decide`."""
    return decide(surroundings, reporter=reporter, name=name).attester


def decide(
    surroundings: Surroundings, *, reporter: Reporter | None = None, name: str | None = None
) -> Decision:
    """The same, with the reason. A reporter is wanted by "dcap-ql" and "aesm" alone.

    Without one, the files of Gramine are asked for the report of its enclave, where they are there.
    Raises `AttesterError`: `attester-none`, or `attester-unusable` for one that is named;
    `ConfigError` (`attester-name`).
    """
    if name is not None:
        return _named(surroundings, reporter, name)
    seen = []
    for attester in _all(surroundings, reporter):
        description = attester.describe()
        if description.usable:
            why = "the first that serves here"
            return Decision(attester=attester, why=_reason(why, description))
        seen.append(description)
    raise _none(seen)


def _named(surroundings: Surroundings, reporter: Reporter | None, name: str) -> Decision:
    if name not in _ATTESTERS:
        raise ConfigError(
            "attester-name",
            f"there is no attester {name[:40]!r}",
            where="--by",
            mend=f"one of {', '.join(NAMES)}",
        )
    attester = _ATTESTERS[name](surroundings, _reporter(surroundings, reporter))
    description = attester.describe()
    if not description.usable:
        raise AttesterError(
            "attester-unusable",
            f"{name} does not serve here: {description.why_not}",
            where=name,
            mend=description.mend or "`dcap attest --list` shows what does",
        )
    return Decision(attester=attester, why=_reason("it was named", description))


def _all(surroundings: Surroundings, reporter: Reporter | None) -> tuple[Attester, ...]:
    asked = _reporter(surroundings, reporter)
    return tuple(found(surroundings, asked) for found in _ATTESTERS.values())


def _reporter(surroundings: Surroundings, given: Reporter | None) -> Reporter | None:
    if given is None and gramine.has_reports(surroundings):
        return gramine.reporter(surroundings)
    return given


def _reason(why: str, description: Description) -> str:
    facts = "; ".join(description.found)
    return f"{why} ({facts})" if facts else why


def _none(seen: list[Description]) -> AttesterError:
    """One error for all: what was looked for, and which of them was nearest."""
    nearest = max(seen, key=_there)
    names = ", ".join(description.name for description in seen)
    what = f"this machine offers nothing that makes quotes (looked for {names})"
    if not _there(nearest):
        return AttesterError("attester-none", f"{what}, and there is no trace of any", mend=_MEND)
    what += f"; nearest is {nearest.name}: {nearest.why_not}"
    return AttesterError("attester-none", what, mend=f"{nearest.mend or _MEND}; or {_MEND}")


def _there(description: Description) -> int:
    """How much of it was found; what is not there is not found. Of equals the first counts."""
    return sum(not fact.endswith(_ABSENT) for fact in description.found)
