"""Single items that programs ask for: an identity, the root's list. Proven, and kept until they are due.

    items = Items(services, anchor=INTEL_SGX_ROOT, directory=cache / "provider")
    item, remarks = items.identity("QVE", "standard")

One item is asked of the services in order, by one thread at a time; what does not prove under the
anchor, or has expired, is passed over for the next. What is kept is proven again when it comes from the
disk. An item that is due is asked for anew, and serves on, with a remark, where that fails. Whether the
root has revoked who signed an identity is the caller's to see, who has the root's list.

Not here: whole sets (`sources.cache`).
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import msgspec

from dcap.errors import CollateralError, FormatError, NotFound
from dcap.formats.certificate import Certificate
from dcap.provider.refusals import expired, unproven
from dcap.sources.disk import Disk
from dcap.sources.flights import Flights
from dcap.sources.freshness import Freshness, Standing, Term
from dcap.sources.intel_codes import with_intel_code
from dcap.sources.need import Ca, Update
from dcap.sources.service import Identity, Service
from dcap.verification.anchors import TrustAnchor
from dcap.verification.memory import Memory
from dcap.verification.piece import check_identity, check_pck_crl, check_root_crl

_EDITION = 1
_REMEMBERED = 64

Ask: TypeAlias = Callable[[Service], "tuple[bytes, bytes]"]


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A document with its issuers' chain, or a list in DER without one; and when it was had."""

    name: str
    body: bytes
    chain: bytes
    kept_at: datetime


class Kept(msgspec.Struct, frozen=True):
    """An item that was proven, and for how long it is in force."""

    item: Item
    term: Term


class _Question(msgspec.Struct, frozen=True):
    piece: str
    name: str
    ask: Ask
    enclave: str = ""
    issuer: str = ""


class Items:
    """The items of one configuration. `scope` tells them from another's on a shared disk."""

    def __init__(
        self,
        services: Sequence[Service],
        *,
        anchor: TrustAnchor,
        clock: Callable[[], datetime],
        directory: Path | None = None,
        scope: str = "",
        freshness: Freshness = Freshness(),  # noqa: B008 - frozen
    ) -> None:
        self._services = tuple(services)
        self._anchor = anchor
        self._clock = clock
        self._disk = None if directory is None else Disk(directory)
        self._scope = scope
        self._freshness = freshness
        self._held: Memory[str, Kept] = Memory(_REMEMBERED)
        self._flights = Flights()

    def identity(self, name: Identity, update: Update) -> tuple[Kept, tuple[str, ...]]:
        """The identity of an enclave of Intel's. Raises as a `Source` does."""

        def ask(service: Service) -> tuple[bytes, bytes]:
            found = service.identity(name, update).value
            return found.body, found.issuer_chain

        piece = "qve_identity" if name == "QVE" else "qe_identity"
        return self._answer(_Question(piece, self._name(name, update), ask, name))

    def pck_crl(self, ca: Ca) -> tuple[Kept, tuple[str, ...]]:
        """The list of a PCK CA, in DER, with its issuers' chain."""

        def ask(service: Service) -> tuple[bytes, bytes]:
            found = service.pck_crl(ca).value
            return found.crl, found.issuer_chain

        issuer = f"PCK {ca.capitalize()} CA"
        return self._answer(_Question("pck_crl", self._name(issuer, ""), ask, issuer=issuer))

    def root_ca_crl(self, update: Update) -> tuple[Kept, tuple[str, ...]]:
        """The root's list. Where only the root says where it is, a QE identity brings the root."""

        def ask(service: Service) -> tuple[bytes, bytes]:
            place = service.root_crl_at or _place(service, update)
            return service.root_ca_crl(place).value, b""

        return self._answer(_Question("root_ca_crl", self._name("root", ""), ask))

    def clear(self) -> None:
        """Forget everything, on the disk too."""
        self._held.clear()
        for name in () if self._disk is None else self._disk.names():
            payload = self._disk.read(name) if self._disk else None
            if self._disk is not None and payload is not None:
                self._disk.drop(name, payload)

    def _name(self, what: str, update: str) -> str:
        root = hashlib.sha256(self._anchor.subject + self._anchor.public_key).digest()
        key = msgspec.msgpack.encode((_EDITION, root, self._scope, what, update))
        return f"item-{hashlib.sha256(key).hexdigest()}"

    def _answer(self, question: _Question) -> tuple[Kept, tuple[str, ...]]:
        held = self._held.recall(question.name)
        if held is not None and self._standing(held) is Standing.FRESH:
            return held, ()
        return self._flights.share(question.name, lambda: self._obtain(question))

    def _obtain(self, question: _Question) -> tuple[Kept, tuple[str, ...]]:
        held = self._held.recall(question.name) or self._load(question)
        if held is not None and self._standing(held) is Standing.FRESH:
            return self._held.keep(question.name, held), ()
        try:
            return self._fetch(question), ()
        except CollateralError as error:
            if held is None or self._standing(held) not in (Standing.DUE, Standing.STALE):
                raise
            day = f"{held.item.kept_at:%Y-%m-%d %H:%M}"
            return held, (f"kept since {day} UTC, and used: {error.what} [{error.code}]",)

    def _standing(self, kept: Kept) -> Standing:
        now = self._clock()
        return self._freshness.of_collateral(kept.item.kept_at, kept.term, now, now)

    def _fetch(self, question: _Question) -> Kept:
        """The first that proves and is in force; else why not, of the first that was no mere lack."""
        failed: list[CollateralError] = []
        for service in self._services:
            try:
                body, chain = question.ask(service)
            except CollateralError as error:
                failed.append(with_intel_code(error, question.piece))
                continue
            now = self._clock()
            item = Item(name=question.name, body=body, chain=chain, kept_at=now)
            kept = self._prove(item, question)
            if isinstance(kept, str):
                failed.append(unproven(kept))
            elif now >= kept.term.expires:
                failed.append(expired(kept.term.expires))
            else:
                if self._disk is not None:
                    self._disk.write(question.name, msgspec.msgpack.encode(item))
                return self._held.keep(question.name, kept)
        lack = NotFound(
            "provider-no-item",
            "no source that is configured gives single items",
            mend="name a PCCS, or Intel's PCS, as a source of the provider",
        )
        telling = [error for error in failed if not isinstance(error, NotFound)]
        raise (telling or failed or [with_intel_code(lack, question.piece)])[0]

    def _load(self, question: _Question) -> Kept | None:
        """What lies on the disk, if it still proves."""
        payload = None if self._disk is None else self._disk.read(question.name)
        if payload is None:
            return None
        try:
            item = msgspec.msgpack.decode(payload, type=Item)
        except (msgspec.DecodeError, ValueError):
            return None
        if item.name != question.name or item.kept_at.tzinfo is None:
            return None
        kept = self._prove(item, question)
        return kept if isinstance(kept, Kept) else None

    def _prove(self, item: Item, question: _Question) -> Kept | str:
        at = self._clock()
        if question.issuer:
            listed = check_pck_crl(item.body, item.chain, at=at, anchor=self._anchor)
            findings, window = listed.failed, listed.window
            fits = (
                listed.content is not None and question.issuer in listed.content.issuer_common_name
            )
        elif not question.enclave:
            lists = check_root_crl(item.body, at=at, anchor=self._anchor)
            findings, window, fits = lists.failed, lists.window, True
        else:
            found = check_identity(item.body, item.chain, at=at, anchor=self._anchor)
            findings, window = found.failed, found.window
            fits = found.content is not None and found.content.id == question.enclave
        if findings or window is None:
            return findings[0].message if findings else "it says nothing of its validity"
        if not fits:
            return f"it is not that of the {question.enclave or question.issuer}"
        return Kept(item, Term(window.newest, window.expires))


def _place(service: Service, update: Update) -> str:
    """Where the root says its list is; the root is the last of a chain, as Intel sends it."""
    answer = service.identity("QE", update)
    try:
        place = Certificate.parse_chain(answer.value.issuer_chain)[-1].crl_distribution_point
    except FormatError as error:
        raise unproven(error.what) from None
    if place is None:
        raise CollateralError(
            "source-no-crl-address",
            "the root certificate beside the QE identity does not say where its revocation list is",
            where=answer.address,
            mend="see whether the service sends the whole issuer chain, the root last",
        )
    return place
