"""A quote provider library as a source: whatever `libdcap_quoteprov.so` is installed, asked safely.

    source = PluginSource(Plugin(path, environ=os.environ))
    source.collateral(need)

What it gives is a claim like any other source's: it is proven before it is kept or believed. Which
services it asks, in which generation, and whom it trusts for servers stand in its own configuration (a
QCNL file, AZDCAP_…): nothing of that can be said in the call, so that an early generation is refused,
and another number than the one that was asked for is found out. Lists come in PEM, hex or DER, whatever
the version says, and leave in DER.

Not here: the process in which it runs (`qpl.plugin`), which plugin (`specs`).
Source: `quote-provider.md` §2.2, §3.1-3.3.
"""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from dcap.errors import CollateralError, FormatError, NotFound, Unavailable
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO, Collateral
from dcap.formats.crl import Crl
from dcap.formats.enclave_identity import EnclaveIdentity
from dcap.formats.origin import Origin
from dcap.formats.pck_selection import tcbm_of
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_info import TcbInfo
from dcap.qpl.plugin import CollateralPieces, Machine, Plugin
from dcap.qpl.qcnl_values import SYSTEM_PATH
from dcap.qpl.qcnl_values import VARIABLE as QCNL_FILE
from dcap.sources.clock import now
from dcap.sources.need import CollateralNeed, MachineNeed
from dcap.sources.source import Accept, Fetched, FetchedPck

#: What of an environment decides whom a plugin asks.
_HEEDED = (QCNL_FILE, "AZDCAP_")
_LARGEST_FILE = 1024 * 1024
_ORDER = ("pck_crl", "tcb_info", "qe_identity", "root_ca_crl")


class PluginSource:
    """A `Source` over a `Plugin`. With `offline` it is not asked: nothing keeps it off the network."""

    def __init__(
        self,
        plugin: Plugin,
        *,
        environ: Mapping[str, str],
        offline: bool = False,
        remarks: tuple[str, ...] = (),
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.plugin = plugin
        self._offline = offline
        self._remarks = remarks
        self._clock = clock
        self.scope = f"plugin {plugin.path} {_configuration(environ)}"

    @property
    def name(self) -> str:
        """For people and for errors."""
        return f"plugin {self.plugin.path}"

    def __repr__(self) -> str:
        return f"<PluginSource {self.plugin.path}>"

    def collateral(self, need: CollateralNeed) -> Fetched:
        """The set for a need, by one call."""
        self._expect_network()
        if need.update == "early":
            raise NotFound(
                "plugin-generation",
                "which generation a plugin fetches stands in its own configuration",
                where=self.plugin.path,
                mend='set "tcb_update_type": "early" there and leave out --early; or --source qcnl',
            )
        found = self.plugin.collateral(need.tee, need.fmspc, need.ca)
        collateral = self._readable(found)
        if need.evaluation_number is not None:
            self._expect_number(collateral, need.evaluation_number)
        fetched_at = self._clock()
        return Fetched(
            collateral=collateral,
            origins=tuple(self._origin(piece, fetched_at) for piece in _ORDER),
            remarks=self._remarks,
        )

    def pck_certificate(
        self,
        need: MachineNeed,
        *,
        accept: Accept | None = None,  # noqa: ARG002 - a plugin has one certificate to give
    ) -> FetchedPck:
        """The PCK certificate of a machine, with its issuers."""
        self._expect_network()
        found = self.plugin.quote_config(
            Machine(
                qe_id=need.qe_id,
                cpu_svn=need.cpu_svn,
                pce_svn=need.pce_svn,
                pce_id=int.from_bytes(need.pce_id, "little"),
                encrypted_ppid=need.encrypted_ppid,
            )
        )
        # Intel's joins leaf and issuers as they are, a leaf without its last newline too.
        chain = found.chain.replace(b"----------BEGIN", b"-----\n-----BEGIN")
        try:
            Certificate.parse_chain(chain)
        except FormatError as error:
            raise self._unreadable(error) from None
        return FetchedPck(
            chain=chain,
            tcbm=tcbm_of(found.cpu_svn, found.pce_svn),
            origin=self._origin("pck_certificate", self._clock()),
            remarks=self._remarks,
        )

    def _expect_network(self) -> None:
        if self._offline:
            raise Unavailable(
                "offline",
                "a plugin asks the network, which was not to be asked",
                where=self.plugin.path,
                mend="leave out --offline (and DCAP_OFFLINE), or give --collateral, or name a folder "
                "or bundle with --source",
            )

    def _readable(self, found: CollateralPieces) -> Collateral:
        """The set, lists in DER; the rest as it is."""
        pieces = found.pieces
        try:
            for piece in pieces:
                if piece.endswith("issuer_chain"):
                    Certificate.parse_chain(pieces[piece])
            SignedJson.parse(pieces["tcb_info"], TCB_INFO)
            SignedJson.parse(pieces["qe_identity"], ENCLAVE_IDENTITY)
            lists = {name: Crl.parse(pieces[name]).der for name in ("root_ca_crl", "pck_crl")}
        except FormatError as error:
            raise self._unreadable(error) from None
        return Collateral(**{**pieces, **lists})

    def _expect_number(self, collateral: Collateral, asked: int) -> None:
        try:
            info = TcbInfo.parse(SignedJson.parse(collateral.tcb_info, TCB_INFO).body)
            identity = EnclaveIdentity.parse(
                SignedJson.parse(collateral.qe_identity, ENCLAVE_IDENTITY).body
            )
        except FormatError as error:
            raise self._unreadable(error) from None
        for number in (info.evaluation_data_number, identity.evaluation_data_number):
            if number != asked:
                raise CollateralError(
                    "source-evaluation-number",
                    f"asked for evaluation data number {asked}, the plugin gave {number}",
                    where=self.plugin.path,
                    mend="ask Intel's PCS itself: a plugin cannot be asked for a number",
                )

    def _unreadable(self, error: FormatError) -> CollateralError:
        where = f"{self.plugin.path}: {error.where}" if error.where else self.plugin.path
        return CollateralError(
            "source-answer",
            f"what the plugin gave cannot be read: {error.what}",
            where=where,
            mend="`dcap provider test` shows each piece; look at the service's answer with `curl -v`",
        )

    def _origin(self, piece: str, fetched_at: datetime) -> Origin:
        return Origin(
            piece=piece, source=self.name, address=self.plugin.path, fetched_at=fetched_at
        )


def _configuration(environ: Mapping[str, str]) -> str:
    """What tells one configuration of a plugin from another, hashed: it may hold secrets."""
    told = repr(sorted(pair for pair in environ.items() if pair[0].startswith(_HEEDED))).encode()
    with suppress(OSError), Path(environ.get(QCNL_FILE) or SYSTEM_PATH).open("rb") as file:
        told += file.read(_LARGEST_FILE)
    return hashlib.sha256(told).hexdigest()
