"""`dcap attest --format bundle`: the quote with all that a verdict on it needs, fetched here and now.

The verifier then needs no network; what it does not get from the machine are its policy and its clock.
A quote that names its machine (certification data of types 1 to 3) is completed by the source. Not
here: the file's format (`formats.containers.bundle`).
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from dcap.cli import arguments, output
from dcap.cli.collateral_source import configured, generation
from dcap.errors import ConfigError
from dcap.relying_party import Gathered, gather, judge
from dcap.verification.evidence import Evidence

if TYPE_CHECKING:
    from dcap.cli.attest_simulated import SimulatedAttester
    from dcap.verification.anchors import TrustAnchor


def bundle(quote: bytes, flags: dict[str, Any], simulated: "SimulatedAttester | None") -> bytes:
    """The bundle's bytes. A simulated machine's collateral is its world's own, without a --source.

    Raises `CollateralError`.
    """
    evidence = Evidence.recognise(quote)
    update, number = generation(flags)
    moment: datetime | None = None
    if simulated is None:
        anchor = arguments.anchor(flags["insecure_test_root"])
    else:
        anchor, moment = simulated.anchor(), simulated.at
        if not flags["sources"]:
            if number is not None:
                raise ConfigError(
                    "flag-without-fetch",
                    "nothing is fetched, for the simulated world is at hand: --evaluation would have no "
                    "effect",
                    where="--evaluation",
                    mend="name a --source, and collateral is fetched",
                )
            beside = simulated.collateral(update or "standard")
            gathered = Gathered(evidence=evidence, collateral=beside)
            _warn_of_expiry(gathered, anchor)
            return gathered.bundle(quote, moment).to_bytes()
    source = configured(flags, anchor=anchor, at=moment)
    gathered = gather(
        evidence, source, update=update, evaluation_number=number, at=moment, anchor=anchor
    )
    _warn_of_expiry(gathered, anchor)
    return gathered.bundle(quote, moment or arguments.instant(None)).to_bytes()


def _warn_of_expiry(gathered: Gathered, anchor: "TrustAnchor") -> None:
    """A bundle is for later: what has ended by now nobody will take, unless judged as of then."""
    found = judge(gathered, anchor=anchor, at=arguments.instant(None)).failures
    expired = [f"{one.message} [{one.code}]" for one in found if one.code.endswith("-expiry")]
    if expired:
        output.warn(
            f"by this machine's clock it is refused already: {expired[0]} (`dcap verify --at recorded` "
            "judges as of its making)"
        )
