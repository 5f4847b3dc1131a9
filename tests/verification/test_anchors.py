"""The trust anchor: which certificate is an edition of the root, by name twice and by key."""

from collections.abc import Callable

import pytest

from dcap.formats.certificate import Certificate
from dcap.simulator.intel import ROOT
from departures import Issued, World
from worlds import anchor_of

OTHER = "Intel SGX Root CA of another"
#: What is not an edition of the root, each by one thing alone.
STRANGERS: dict[str, Callable[[World], Issued]] = {
    "another subject": lambda w: w.certificate(
        OTHER, key=w.root.key, self_signed=True, issuer_name=w.root.name, ca=True
    ),
    "another issuer": lambda w: w.certificate(
        ROOT, key=w.root.key, self_signed=True, issuer_name=w.name(OTHER), ca=True
    ),
    "another key": lambda w: w.certificate(ROOT, self_signed=True, ca=True),
}


def test_another_edition_of_the_root_matches(world: World) -> None:
    """Other dates, another serial number or path length make no other root."""
    edition = world.certificate(ROOT, key=world.root.key, self_signed=True, ca=True, serial=7)

    assert edition.der != world.root.der
    assert anchor_of(world).matches(Certificate.parse(edition.der))
    assert anchor_of(world).matches(Certificate.parse(world.root.der))


@pytest.mark.parametrize("stranger", STRANGERS)
def test_what_differs_in_one_thing_is_no_edition(world: World, stranger: str) -> None:
    """Subject, issuer and key must all be the root's: two of the three do not do."""
    certificate = Certificate.parse(STRANGERS[stranger](world).der)

    assert not anchor_of(world).matches(certificate)


def test_only_an_edition_that_is_known_bit_by_bit_is_known(world: World) -> None:
    """Another edition matches, but its own signature has yet to be computed."""
    edition = world.certificate(ROOT, key=world.root.key, self_signed=True, ca=True, serial=7)

    assert anchor_of(world).knows(Certificate.parse(world.root.der))
    assert not anchor_of(world).knows(Certificate.parse(edition.der))
