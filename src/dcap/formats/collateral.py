"""Collateral: everything that Intel publishes and a verdict needs, as untrusted bytes.

The members are those of Intel's `sgx_ql_qve_collateral_t`, with the meaning they have there: chains
in PEM (leaf first), CRLs in PEM, DER or hex of DER, TCB info and QE identity as the signed responses
of the PCS. `pck_certificate_chain` comes beside them where a quote does not carry its own chain; its CA
stands in for a `pck_crl_issuer_chain` that is absent.

Read here: the vector folder's and PCS's file names, and dcap-qvl's JSON. Not here: opening files
(`sources.directory`), fetching (`sources`), checking (`verification.endorsements`).

Source: Intel `sgx_ql_lib_common.h`; `verification.md` §4.
"""

from collections.abc import Mapping

import msgspec

from dcap.errors import FormatError, NotFound
from dcap.formats.signed_json import SignedJson, decode, prepare, signature_from_hex

TCB_INFO = "tcbInfo"
ENCLAVE_IDENTITY = "enclaveIdentity"

#: More than any set of collateral weighs (a CRL of 20,000 entries is 1 MB).
MAX_SIZE = 16 * 1024 * 1024


class Collateral(msgspec.Struct, frozen=True, kw_only=True):
    """One set of collateral: claims until `check_endorsements` has made `Endorsements` of it."""

    root_ca_crl: bytes
    pck_crl: bytes
    tcb_info_issuer_chain: bytes
    tcb_info: bytes
    qe_identity_issuer_chain: bytes
    qe_identity: bytes
    pck_crl_issuer_chain: bytes | None = None
    pck_certificate_chain: bytes | None = None

    @classmethod
    def from_json(cls, text: bytes) -> "Collateral":
        """Read dcap-qvl's JSON form (bodies as strings, signatures and CRLs in hex)."""
        form = decode(text, _QvlForm, "collateral JSON", MAX_SIZE)
        return cls(
            pck_crl_issuer_chain=form.pck_crl_issuer_chain.encode() or None,
            root_ca_crl=form.root_ca_crl.encode(),
            pck_crl=form.pck_crl.encode(),
            tcb_info_issuer_chain=form.tcb_info_issuer_chain.encode(),
            tcb_info=_sealed(form.tcb_info.encode(), form.tcb_info_signature, TCB_INFO),
            qe_identity_issuer_chain=form.qe_identity_issuer_chain.encode(),
            qe_identity=_sealed(
                form.qe_identity.encode(), form.qe_identity_signature, ENCLAVE_IDENTITY
            ),
            pck_certificate_chain=(form.pck_certificate_chain or "").encode() or None,
        )

    def to_json(self) -> bytes:
        """Write dcap-qvl's JSON form. Raises `FormatError` where a response cannot be read."""
        from dcap.formats.crl import to_der  # noqa: PLC0415 - only writers need it

        tcb_info = SignedJson.parse(self.tcb_info, TCB_INFO)
        identity = SignedJson.parse(self.qe_identity, ENCLAVE_IDENTITY)
        form = _QvlForm(
            pck_crl_issuer_chain=_text(self.pck_crl_issuer_chain or b""),
            root_ca_crl=to_der(self.root_ca_crl).hex(),
            pck_crl=to_der(self.pck_crl).hex(),
            tcb_info_issuer_chain=_text(self.tcb_info_issuer_chain),
            tcb_info=_text(tcb_info.body),
            tcb_info_signature=tcb_info.signature.hex(),
            qe_identity_issuer_chain=_text(self.qe_identity_issuer_chain),
            qe_identity=_text(identity.body),
            qe_identity_signature=identity.signature.hex(),
            pck_certificate_chain=(
                _text(self.pck_certificate_chain) if self.pck_certificate_chain else None
            ),
        )
        return msgspec.json.encode(form)

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "Collateral":
        """Read a folder's content, given as file name -> bytes (`FILE_NAMES`).

        Where one piece is there in two forms, they must agree. Raises `NotFound`
        (`collateral-incomplete`), naming every missing piece, or `FormatError`.
        """
        pieces = {piece: _piece(piece, files) for piece in FILE_NAMES}
        bundle = files.get("collateral.json")
        if bundle and all(pieces[p] is None for p in _REQUIRED):
            return cls.from_json(bundle)
        missing = [p for p in _REQUIRED if pieces[p] is None]
        if pieces["pck_crl_issuer_chain"] is pieces["pck_certificate_chain"] is None:
            missing.append("pck_crl_issuer_chain")
        if missing:
            raise NotFound(
                "collateral-incomplete",
                f"the collateral lacks {', '.join(missing)}",
                mend="; ".join(f"{p} is read from {' or '.join(FILE_NAMES[p])}" for p in missing),
            )
        return cls(**pieces)  # type: ignore[arg-type]


#: Which files a piece is read from. `*_signature.hex` belongs to the body of the same name.
FILE_NAMES: dict[str, tuple[str, ...]] = {
    "root_ca_crl": ("root_ca_crl.der", "root_ca_crl.pem", "root_ca_crl.hex", "root_ca_crl"),
    "pck_crl": ("pck_crl.der", "pck_crl.pem", "pck_crl.hex", "pck_crl"),
    "tcb_info_issuer_chain": ("tcb_info_issuer_chain.pem",),
    "tcb_info": ("tcb_info_response.json", "tcb_info.json"),
    "qe_identity_issuer_chain": ("qe_identity_issuer_chain.pem",),
    "qe_identity": ("qe_identity_response.json", "qe_identity.json"),
    "pck_crl_issuer_chain": ("pck_crl_issuer_chain.pem",),
    "pck_certificate_chain": ("pck_chain.pem", "pck_certificate_chain.pem"),
}
_REQUIRED = tuple(FILE_NAMES)[:-2]
_MEMBERS = {"tcb_info": TCB_INFO, "qe_identity": ENCLAVE_IDENTITY}


class _QvlForm(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The JSON of dcap-qvl's `QuoteCollateralV3`, in its member order."""

    pck_crl_issuer_chain: str
    root_ca_crl: str
    pck_crl: str
    tcb_info_issuer_chain: str
    tcb_info: str
    tcb_info_signature: str
    qe_identity_issuer_chain: str
    qe_identity: str
    qe_identity_signature: str
    pck_certificate_chain: str | None = None


prepare(_QvlForm)


def _piece(piece: str, files: Mapping[str, bytes]) -> bytes | None:
    names = FILE_NAMES[piece]
    member = _MEMBERS.get(piece)
    if member is None:
        return _agreed(piece, [files[name] for name in names if name in files])
    response, body_name = names
    body, signature = files.get(body_name), files.get(f"{piece}_signature.hex")
    if body is not None and signature is None and response not in files:
        return body  # a response saved under the body's name: it carries its own signature
    sealed = None
    if body is not None and signature is not None:
        sealed = _sealed(body, signature.decode("ascii", "replace"), member)
    if response not in files:
        return sealed
    if sealed is not None and not _same(files[response], sealed, member):
        raise FormatError(
            "collateral-ambiguous",
            f"{response} and {body_name} with its signature do not say the same",
            where=piece,
            mend="keep the one that came from Intel, unchanged",
        )
    return files[response]


def _agreed(piece: str, found: list[bytes]) -> bytes | None:
    """One piece that may be there in several encodings, which must be of the same bytes."""
    if len(found) > 1 and len({_plain(piece, data) for data in found}) > 1:
        raise FormatError(
            "collateral-ambiguous",
            f"{piece} is there in several files, which differ",
            where=piece,
            mend="keep the one that came from Intel, unchanged",
        )
    return found[0] if found else None


def _plain(piece: str, data: bytes) -> bytes:
    from dcap.formats.crl import to_der  # noqa: PLC0415 - only where there are two

    try:
        return to_der(data) if piece.endswith("crl") else data.strip()
    except FormatError:
        return data


def _same(response: bytes, sealed: bytes, member: str) -> bool:
    """Whether two forms of a document agree; what cannot be read is left to be found out later."""
    try:
        return SignedJson.parse(response, member) == SignedJson.parse(sealed, member)
    except FormatError:
        return True


def _sealed(body: bytes, signature: str, member: str) -> bytes:
    return SignedJson(body, signature_from_hex(signature, member)).envelope(member)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
