"""A service, item by item; and the source that makes a set of its items, asking for them side by side.

    source = ServiceSource("Intel PCS", PcsService(connect=network.handler))
    fetched = source.collateral(need)

`Service` is what every dialect offers (`pcs`, `pccs`, `qcnl`, `thim`); a cache that fills itself item by
item asks it directly, the relying party asks the `ServiceSource`. Not here: keeping (`cache`), the order
of several (`first_of`), any proof.

Source: `pccs-and-pcs-api.md` §5; `quote-provider.md` §2.1.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

import msgspec

from dcap.api.pccs_responses import PckCertificate
from dcap.api.pcs_responses import FmspcsResponse, PckCertsResponse, PckCrlResponse, SignedResponse
from dcap.errors import CollateralError, FormatError
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO, Collateral
from dcap.formats.crl import Crl
from dcap.formats.enclave_identity import EnclaveIdentity
from dcap.formats.origin import Origin
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_info import TcbInfo
from dcap.sources.assembly import PATIENCE, Crew, settle
from dcap.sources.clock import now
from dcap.sources.endpoint import Answer, placed, unreadable
from dcap.sources.intel_codes import with_intel_code
from dcap.sources.need import Ca, CollateralNeed, MachineNeed, Tee, Update
from dcap.sources.source import Accept, Fetched, FetchedPck

T = TypeVar("T")

Identity: TypeAlias = Literal["QE", "TD_QE", "QVE", "QAE"]
Platforms: TypeAlias = Literal["all", "client", "E3", "E5"]

#: Enough for sixteen sets at a time.
THREADS = 64


class Service(Protocol):
    """One dialect of one service. Each method raises as a `Source` does, and nothing else.

    `root_crl_at` says where the root's revocation list is had, if that is known before any answer: it
    is then asked for beside the rest. Where it is `None`, the root certificate names the place.
    `update` and `number` say of which generation; where `number` is given, `update` does not count.
    """

    @property
    def root_crl_at(self) -> str | None:
        """Where the root's list is, or `None`."""

    def pck_crl(self, ca: Ca) -> Answer[PckCrlResponse]:
        """The revocation list of a PCK CA, in DER, with its issuer's chain."""

    def root_ca_crl(self, place: str) -> Answer[bytes]:
        """The root's revocation list, in DER, from `root_crl_at` or the root's distribution point."""

    def tcb_info(
        self, tee: Tee, fmspc: bytes, update: Update = "standard", number: int | None = None
    ) -> Answer[SignedResponse]:
        """The TCB info of an FMSPC."""

    def identity(
        self, name: Identity, update: Update = "standard", number: int | None = None
    ) -> Answer[SignedResponse]:
        """The identity of an enclave of Intel's."""

    def pck_cert(self, machine: MachineNeed) -> Answer[PckCertificate]:
        """The PCK certificate of a machine for its raw TCB."""


class Catalogue(Service, Protocol):
    """A service that also knows all that there is: Intel's."""

    def pck_certs(
        self,
        *,
        pce_id: bytes,
        encrypted_ppid: bytes | None = None,
        platform_manifest: bytes | None = None,
        cpu_svn: bytes | None = None,
    ) -> Answer[PckCertsResponse]:
        """All PCK certificates of a machine, or those of one configuration of its."""

    def fmspcs(self, platforms: Platforms = "all") -> Answer[FmspcsResponse]:
        """All FMSPCs."""

    def evaluation_numbers(self, tee: Tee) -> Answer[SignedResponse]:
        """Which TCB evaluation data numbers there are."""


class ServiceSource:
    """A `Source` over a `Service`. `service` is for who wants single items.

    `scope` is what `scope_of` says of it; its name, if not given.
    """

    def __init__(
        self,
        name: str,
        service: Service,
        *,
        remarks: tuple[str, ...] = (),
        scope: str | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._name = name
        self.scope = name if scope is None else scope
        self.service = service
        self._remarks = remarks
        self._clock = clock
        self._crew = Crew(THREADS)

    @property
    def name(self) -> str:
        """For people and for errors."""
        return self._name

    def __repr__(self) -> str:
        return f"<ServiceSource {self._name}>"

    def collateral(self, need: CollateralNeed) -> Fetched:
        """The set for a need: one round trip, and one more where only the root says where its list is.

        Raises the error of the first piece, in the order below, that cannot be had, and `Unavailable`
        (`source-busy`) where too much is under way.
        """
        service = self.service
        name: Identity = "QE" if need.tee == "SGX" else "TD_QE"
        generation = need.update, need.evaluation_number
        start = partial(self._start, time.monotonic() + PATIENCE)
        crl = start("pck_crl", lambda: service.pck_crl(need.ca), _readable_crl)
        tcb_info = start(
            "tcb_info",
            lambda: service.tcb_info(need.tee, need.fmspc, *generation),
            lambda found: _readable_tcb_info(found, need.evaluation_number),
        )
        identity = start(
            "qe_identity",
            lambda: service.identity(name, *generation),
            lambda found: _readable_identity(found, need.evaluation_number),
        )
        root = start(
            "root_ca_crl",
            lambda: service.root_ca_crl(service.root_crl_at or _root_crl_place(identity.result())),
            Crl.parse,
        )
        settle(crl, tcb_info, identity, root)
        pieces = crl.result(), tcb_info.result(), identity.result(), root.result()
        return Fetched(
            collateral=Collateral(
                pck_crl=crl.result().value.crl,
                pck_crl_issuer_chain=crl.result().value.issuer_chain,
                root_ca_crl=root.result().value,
                tcb_info=tcb_info.result().value.body,
                tcb_info_issuer_chain=tcb_info.result().value.issuer_chain,
                qe_identity=identity.result().value.body,
                qe_identity_issuer_chain=identity.result().value.issuer_chain,
            ),
            origins=tuple(piece.origin for piece in pieces),
            remarks=self._remarks,
        )

    def pck_certificate(
        self,
        need: MachineNeed,
        *,
        accept: Accept | None = None,  # noqa: ARG002 - a service has one certificate to give
    ) -> FetchedPck:
        """The PCK certificate of a machine, with its issuers."""
        found = self._have(
            "pck_certificate",
            lambda: self.service.pck_cert(need),
            lambda pck: Certificate.parse_chain(pck.chain),
        )
        return FetchedPck(
            chain=found.value.chain,
            tcbm=found.value.tcbm,
            origin=found.origin,
            remarks=(*self._remarks, *found.passing),
            passing=found.passing,
        )

    def _start(
        self, until: float, piece: str, ask: Callable[[], Answer[T]], check: Callable[[T], object]
    ) -> "Future[_Piece[T]]":
        return self._crew.start(lambda: self._have(piece, ask, check), until)

    def _have(
        self, piece: str, ask: Callable[[], Answer[T]], check: Callable[[T], object]
    ) -> "_Piece[T]":
        """One piece, looked through, and the way it came; errors say what Intel's provider would."""
        try:
            answer = ask()
            try:
                check(answer.value)
            except FormatError as error:
                raise unreadable(error, answer.address) from None
            except CollateralError as error:
                raise placed(error, answer.address) from None
        except CollateralError as error:
            raise with_intel_code(error, piece) from None
        origin = Origin(
            piece=piece, source=self._name, address=answer.address, fetched_at=self._clock()
        )
        return _Piece(value=answer.value, origin=origin, passing=answer.passing)


class _Piece(msgspec.Struct, Generic[T], frozen=True):
    """What was had, and the way of it."""

    value: T
    origin: Origin
    passing: tuple[str, ...] = ()


def _root_crl_place(identity: _Piece[SignedResponse]) -> str:
    """Where the root says its list is. The root is the last of the chain, as Intel sends it."""
    root = Certificate.parse_chain(identity.value.issuer_chain)[-1]
    if root.crl_distribution_point is None:
        raise CollateralError(
            "source-no-crl-address",
            "the root certificate beside the QE identity does not say where its revocation list is",
            where=identity.origin.address,
            mend="see whether the service sends the whole issuer chain, the root last",
        )
    return root.crl_distribution_point


# Readable is not true: what is claimed is proven later, by who judges or keeps it.


def _readable_crl(found: PckCrlResponse) -> None:
    Crl.parse(found.crl)
    Certificate.parse_chain(found.issuer_chain)


def _readable_tcb_info(found: SignedResponse, number: int | None) -> None:
    document = _readable(found, TCB_INFO)
    if number is not None:
        _expect("TCB info", TcbInfo.parse(document.body).evaluation_data_number, number)


def _readable_identity(found: SignedResponse, number: int | None) -> None:
    document = _readable(found, ENCLAVE_IDENTITY)
    if number is not None:
        _expect("QE identity", EnclaveIdentity.parse(document.body).evaluation_data_number, number)


def _readable(found: SignedResponse, member: str) -> SignedJson:
    Certificate.parse_chain(found.issuer_chain)
    return SignedJson.parse(found.body, member)


def _expect(what: str, number: int, asked: int) -> None:
    if number != asked:
        raise CollateralError(
            "source-evaluation-number",
            f"asked for evaluation data number {asked}, the service gave a {what} of {number}",
            mend="ask Intel's PCS itself: a PCCS of Intel's ignores the number, and so does Azure's",
        )
