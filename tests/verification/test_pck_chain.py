"""A PCK chain by itself: proven up to the anchor, and only then read."""

from datetime import datetime, timedelta

import pytest

from dcap.errors import ConfigError
from dcap.formats.certificate import Certificate
from dcap.formats.quote import Quote
from dcap.simulator import World
from dcap.verification import TrustAnchor
from dcap.verification.pck_chain import PckChainCheck, certifies, check_pck_chain


@pytest.fixture(scope="module")
def simulated() -> World:
    """A world of one machine; nobody changes it."""
    return World("pck chain")


def checked(world: World, pem: bytes, at: datetime | None = None) -> PckChainCheck:
    """The check under the world's own root."""
    anchor = TrustAnchor.insecure_test_root(world.intel.root.certificate)
    return check_pck_chain(pem, at=at or world.at, anchor=anchor)


def failed(check: PckChainCheck) -> list[str]:
    """The codes of what failed."""
    return [finding.code for finding in check.findings if not finding.ok]


@pytest.mark.parametrize("ca", ["processor", "platform"])
def test_a_genuine_chain_says_what_it_certifies(simulated: World, ca: str) -> None:
    """FMSPC and SVNs of the leaf, and the term of the whole chain."""
    machine = simulated.platform(ca, ca=ca)
    check = checked(simulated, machine.pck_chain())
    assert failed(check) == []
    assert check.extensions is not None
    assert check.extensions.fmspc == machine.fmspc
    assert check.window is not None
    assert check.window.expires == min(
        certificate.not_after for certificate in Certificate.parse_chain(machine.pck_chain())
    )


def test_a_chain_of_another_root_certifies_nothing(simulated: World) -> None:
    """Nothing is read from a leaf that somebody else issued."""
    check = checked(simulated, World("forger").platform().pck_chain())
    assert failed(check) == ["pck-chain-root"]
    assert check.extensions is None
    assert check.window is None


def test_a_leaf_under_a_false_signature_certifies_nothing(simulated: World) -> None:
    """The leaf of one world above the issuers of another."""
    intel = simulated.intel
    stranger = World("forger").platform().pck()
    pem = intel.chain(stranger, intel.pck_ca("platform"))
    check = checked(simulated, pem)
    assert failed(check) == ["pck-chain-signature"]
    assert check.extensions is None


@pytest.mark.parametrize("kept", [slice(0, 1), slice(0, 2), slice(1, 3)])
def test_a_chain_that_lacks_a_certificate_is_none(simulated: World, kept: slice) -> None:
    """Leaf, CA and root, all three."""
    certificates = Certificate.parse_chain(simulated.platform().pck_chain())[kept]
    pem = b"".join(certificate.to_pem() for certificate in certificates)
    assert failed(checked(simulated, pem)) == ["pck-chain-roles"]


def test_what_is_no_pem_is_found_and_not_raised(simulated: World) -> None:
    """A bad chain is a finding."""
    assert failed(checked(simulated, b"<html>")) == ["pck-chain-format"]


def test_a_chain_from_the_future_is_refused_and_an_expired_one_is_a_fact(simulated: World) -> None:
    """Expiry is for who keeps it; a certificate that is not yet valid proves nothing."""
    pem = simulated.platform().pck_chain()
    leaf = Certificate.parse_chain(pem)[0]
    early = checked(simulated, pem, leaf.not_before - timedelta(seconds=1))
    assert failed(early) == ["pck-chain-validity-start"]
    late = checked(simulated, pem, leaf.not_after + timedelta(days=1))
    assert failed(late) == []
    assert late.window is not None
    assert late.window.expires == leaf.not_after


def test_an_instant_without_a_zone_is_refused(simulated: World) -> None:
    """The verifier's time is an aware one."""
    naive = simulated.at.replace(tzinfo=None)
    with pytest.raises(ConfigError) as caught:
        checked(simulated, simulated.platform().pck_chain(), naive)
    assert caught.value.code == "no-instant"


def test_only_the_machines_own_certificate_certifies_its_quote(simulated: World) -> None:
    """Not another machine's, not one of another root, not an expired one: the signature decides."""
    machine, other = simulated.platform("mine"), simulated.platform("other")
    stranger = World("another").platform("mine")
    anchor = TrustAnchor.insecure_test_root(simulated.intel.root.certificate)
    quote = Quote.parse(machine.quote(certification=3))
    expires = checked(simulated, machine.pck_chain()).window.expires  # type: ignore[union-attr]

    def fits(pem: bytes, at: datetime = simulated.at) -> bool:
        return certifies(pem, quote, at=at, anchor=anchor)

    assert fits(machine.pck_chain())
    assert fits(machine.pck_chain(), expires - timedelta(seconds=1))
    assert not fits(machine.pck_chain(), expires)
    assert not fits(other.pck_chain())
    assert not fits(stranger.pck_chain())
    assert not fits(b"<html>")
