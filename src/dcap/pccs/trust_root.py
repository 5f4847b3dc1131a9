"""The root that a store stands on: that of its first start, and no other afterwards.

    hold_to(store, INTEL_SGX_ROOT)        # ConfigError (store-root) where it stands on another

What is kept was proven under one root. A service that is started with another would serve what it does
not believe (a simulated world's, as Intel's), or would forget all of it. Not here: proofs (`trust`).
"""

import hashlib
from contextlib import suppress
from typing import Final

from dcap.errors import ConfigError, FormatError
from dcap.formats.certificate import Certificate
from dcap.pccs.store.store import Store
from dcap.verification.anchors import INTEL, TrustAnchor

#: The lease whose holder is the fingerprint, and which does not end.
_ROOT: Final = "trust-root"
_FOR_EVER: Final = 2.0**40


def fingerprint(anchor: TrustAnchor) -> str:
    """What tells roots apart: the SHA-256 of subject and key, in hex. A root has several editions."""
    return hashlib.sha256(anchor.subject + anchor.public_key).hexdigest()


def hold_to(store: Store, anchor: TrustAnchor) -> None:
    """Write the root down where none is, else see that it is this one.

    A store of before this was written down is told by the chains that it holds. Raises `ConfigError`
    (`store-root`), `Unavailable`.
    """
    mine = fingerprint(anchor)
    written = store.leases.holder(_ROOT)
    if written == mine:
        return
    if written is None:
        is_mine = all(anchor.matches(root) for root in _roots(store))
        if is_mine and store.leases.acquire(_ROOT, mine, _FOR_EVER):
            return
    asked = "Intel's root" if anchor.name == INTEL else "this test root"
    raise ConfigError(
        "store-root",
        f"what the database holds was proven under another root than {asked}",
        where=store.place,
        mend="start it with the --insecure-test-root that it was filled with, or name an empty database"
        if anchor.name == INTEL
        else "leave --insecure-test-root out, give the one that it was filled with, or name another "
        "folder with --data",
    )


def _roots(store: Store) -> list[Certificate]:
    """The roots that chains of what is kept end in."""
    found = []
    for chain in store.platforms.chains():
        with suppress(FormatError):
            found += [one for one in Certificate.parse_chain(chain)[-1:] if one.self_issued]
    return found
