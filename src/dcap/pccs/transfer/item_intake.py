"""Collateral of an import, proven: the root's list first, then the CAs' lists, then the rest.

    items = ItemIntake(store, at=…, anchor=…, strict=True)
    items.prove(claims)             # items.proven, items.left_out
    items.newest(PckCrlKey("PLATFORM"))

Not here: machines (`machine_intake`), the transaction (`intake`).

Source: `pccs-and-pcs-api.md` §2.4, §4.3, §7.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from dcap.pccs.age import is_older
from dcap.pccs.items import CrlKey, Item, Key, PckCrlKey, RootCrlKey
from dcap.pccs.store.store import Store
from dcap.pccs.transfer.report import NO_CHAIN, LeftOut
from dcap.pccs.trust import Forged, prove
from dcap.verification.anchors import TrustAnchor

#: Findings that a document has too that was written anew.
_REWRITTEN: Final = ("tcb-info-signature", "qe-identity-signature")


class ItemIntake:
    """The collateral of one import: `proven` by the text of its keys, and what was `left_out`."""

    def __init__(self, store: Store, *, at: datetime, anchor: TrustAnchor, strict: bool) -> None:
        self.proven: dict[str, Item] = {}
        self.left_out: list[LeftOut] = []
        #: The root's list that everything else is proven under.
        self.root_crl: bytes | None = None
        self._store = store
        self._at = at
        self._anchor = anchor
        self._strict = strict

    def prove(self, items: Sequence[Item]) -> None:
        """Prove them, in the order that their proofs want. Raises `Forged` where it is strict."""
        roots = [item for item in items if isinstance(item.key, RootCrlKey)]
        others = [item for item in items if not isinstance(item.key, RootCrlKey)]
        for item in roots:
            self._note(item)
        self.root_crl = self.newest_body(RootCrlKey())
        for item in sorted(others, key=lambda item: not isinstance(item.key, PckCrlKey | CrlKey)):
            self._note(item)

    def newest(self, key: Key) -> Item | None:
        """Of what came and what is kept under a key, the newer."""
        came, kept = self.proven.get(key.text), self._store.items.get(key)
        return kept if came is None or (kept is not None and is_older(came, kept)) else came

    def newest_body(self, key: Key) -> bytes | None:
        """`newest`, its bytes alone."""
        found = self.newest(key)
        return None if found is None else found.body

    def _note(self, item: Item) -> None:
        """Prove an item; of two under one key the newer counts."""
        proven = self._prove_item(item)
        if proven is not None and not is_older(proven, self.proven.get(proven.key.text)):
            self.proven[proven.key.text] = proven

    def _prove_item(self, item: Item) -> Item | None:
        if isinstance(item.key, PckCrlKey) and not item.issuer_chain:
            # A bundle of lists alone brings no chain: the list that is kept has it.
            kept = self._store.items.get(item.key)
            if kept is None:
                what = "nothing says who issues the list"
                self.left_out.append(LeftOut("item", item.key.text, NO_CHAIN, what))
                return None
            item = msgspec.structs.replace(item, issuer_chain=kept.issuer_chain)
        try:
            return self._prove_either(item)
        except Forged as error:
            if self._strict:
                raise
            self.left_out.append(LeftOut("item", item.key.text, error.finding, error.what))
            return None

    def _prove_either(self, item: Item) -> Item:
        """The item as it came; else, where only blanks may be wrong, without blanks.

        Tools that read JSON and write it again put blanks into what was signed without any.
        """
        try:
            return prove(item, at=self._at, anchor=self._anchor, root_crl=self.root_crl)
        except Forged as error:
            bare = _without_blanks(item.body) if error.finding in _REWRITTEN else item.body
            if bare == item.body:
                raise
        bare_item = msgspec.structs.replace(item, body=bare)
        return prove(bare_item, at=self._at, anchor=self._anchor, root_crl=self.root_crl)


def _without_blanks(document: bytes) -> bytes:
    """JSON without the blanks between its tokens; whatever else it is, as it is."""
    try:
        return msgspec.json.format(document, indent=-1)
    except (msgspec.DecodeError, RecursionError):
        return document
