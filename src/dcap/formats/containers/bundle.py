"""The bundle: a judgement's inputs in one JSON file, to be judged again anywhere, without a network.

    {"dcap_bundle": 1, "recorded_at": "2026-01-01T12:00:00Z", "evidence": "<base64>",
     "collateral": {…}, "origins": […], "remarks": […]}

Evidence and collateral are the exact bytes that were judged: what Intel signed and every chain as text,
revocation lists and evidence in base64. A bundle proves nothing by itself: the signatures inside do, and
`recorded_at`, `origins` and `remarks` are the claims of whoever wrote it. Without evidence it is a set
of collateral in one file.

The format is dcap's own; its number counts incompatible changes. Not here: opening files, judging.
"""

import binascii
from datetime import UTC, datetime

import msgspec

from dcap.errors import ConfigError, FormatError
from dcap.formats.collateral import Collateral
from dcap.formats.containers.layer import Layer, Record
from dcap.formats.origin import Origin
from dcap.formats.signed_json import Instant, decode, decode_part, prepare, utc

BUNDLE = "dcap-bundle"
NUMBER = 1
#: A set of collateral weighs 60 KB; one with a revocation list of 20,000 entries 1.4 MB.
MAX_SIZE = 4 * 1024 * 1024
_MEMBER = b'"dcap_bundle"'
_NAME = "bundle"
_MOST_TOLD, _LONGEST = 256, 4096
#: What is written of them: three texts for each origin, and the rest.
_MOST_ORIGINS, _MOST_REMARKS = 32, 128
#: Pieces that are binary, or may be.
_BINARY = ("root_ca_crl", "pck_crl")


class _WireCollateral(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The pieces, by the names of `Collateral`."""

    root_ca_crl: str
    pck_crl: str
    tcb_info_issuer_chain: str
    tcb_info: str
    qe_identity_issuer_chain: str
    qe_identity: str
    pck_crl_issuer_chain: str | None = None
    pck_certificate_chain: str | None = None


class _Wire(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """The file, member for member."""

    dcap_bundle: int
    recorded_at: Instant
    evidence: str | None = None
    collateral: _WireCollateral
    origins: tuple[Origin, ...] = ()
    remarks: tuple[str, ...] = ()


prepare(_Wire)


class _Number(msgspec.Struct, frozen=True):
    dcap_bundle: int


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """What was judged, or is to be. `evidence` is as it came, with its containers."""

    collateral: Collateral
    recorded_at: datetime
    evidence: bytes | None = None
    origins: tuple[Origin, ...] = ()
    remarks: tuple[str, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> "Bundle":
        """Read one. Raises `FormatError` (`bundle`, `bundle-number`, `json` …)."""
        found = _number(data)
        if found != NUMBER:
            raise FormatError(
                "bundle-number",
                f"a bundle of form {found}; this dcap reads form {NUMBER}",
                where=_NAME,
                mend="read it with a newer dcap",
            )
        wire = decode(data, _Wire, _NAME, MAX_SIZE)
        _check_claims(wire)
        texts = msgspec.structs.asdict(wire.collateral)
        pieces = {name: _bytes(name, text) for name, text in texts.items()}
        return cls(
            collateral=Collateral(**pieces),  # type: ignore[arg-type]
            recorded_at=utc(wire.recorded_at, f"{_NAME}, recorded_at"),
            evidence=None if wire.evidence is None else _unbase64(wire.evidence, "evidence"),
            origins=wire.origins,
            remarks=wire.remarks,
        )

    def to_bytes(self) -> bytes:
        """The file, which `parse` reads again: what is told to people is cut where it is too long.

        Raises `FormatError` where a piece that must be text is none, `ConfigError` (`bundle-too-large`).
        """
        pieces = {
            name: _text(name, getattr(self.collateral, name))
            for name in _WireCollateral.__struct_fields__
        }
        wire = _Wire(
            dcap_bundle=NUMBER,
            recorded_at=_second(self.recorded_at),
            evidence=None if self.evidence is None else _base64(self.evidence),
            collateral=_WireCollateral(**pieces),  # type: ignore[arg-type]
            origins=tuple(_short(origin) for origin in self.origins[:_MOST_ORIGINS]),
            remarks=tuple(_cut(remark) for remark in self.remarks[:_MOST_REMARKS]),
        )
        data = msgspec.json.format(msgspec.json.encode(wire), indent=1) + b"\n"
        if len(data) > MAX_SIZE:
            raise ConfigError(
                "bundle-too-large",
                f"a bundle of {len(data)} bytes would be written, and {MAX_SIZE} are read at most",
                where=_NAME,
                mend="give the quote alone, without its container; or save the collateral in a folder",
            )
        return data

    @property
    def record(self) -> "Record":
        """When it was written and from where its collateral came: claims."""
        return Record(at=self.recorded_at, origins=self.origins, remarks=self.remarks)


def is_bundle(data: bytes) -> bool:
    """Whether `data` are JSON with the bundle's member."""
    return data[:64].lstrip().startswith(b"{") and _MEMBER in data


def open_layer(data: bytes) -> Layer | None:
    """The evidence and its collateral; `None` where `data` is no bundle."""
    if not is_bundle(data):
        return None
    bundle = Bundle.parse(data)
    if bundle.evidence is None:
        raise FormatError(
            "bundle-without-evidence",
            "the bundle holds collateral alone, and no evidence",
            where=_NAME,
            mend="give the quote, and the bundle with --collateral",
        )
    return Layer(
        names=(BUNDLE,),
        content=bundle.evidence,
        collateral=bundle.collateral,
        record=bundle.record,
        facts={
            "recorded_at": bundle.recorded_at.replace(tzinfo=None).isoformat("T", "seconds") + "Z"
        },
    )


def _check_claims(wire: _Wire) -> None:
    """What is told to people is short, and every instant has its zone."""
    told = [*wire.remarks]
    for origin in wire.origins:
        if origin.fetched_at.tzinfo is None:
            raise FormatError("bundle", "a time has no zone", where=f"{_NAME}, origins")
        utc(origin.fetched_at, f"{_NAME}, origins")
        told += (origin.piece, origin.source, origin.address)
    if len(told) > _MOST_TOLD or any(len(text) > _LONGEST for text in told):
        raise FormatError("bundle", "origins or remarks are too many or too long", where=_NAME)


def _number(data: bytes) -> int:
    return decode_part(data, _Number, _NAME, MAX_SIZE).dcap_bundle


def _bytes(name: str, text: str | None) -> bytes | None:
    if text is None:
        return None
    return _unbase64(text, name) if name in _BINARY else text.encode()


def _text(name: str, content: bytes | None) -> str | None:
    if content is None:
        return None
    if name in _BINARY:
        return _base64(content)
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise FormatError("bundle", f"{name} is not text", where=_NAME) from None


def _base64(content: bytes) -> str:
    return binascii.b2a_base64(content, newline=False).decode()


def _unbase64(text: str, name: str) -> bytes:
    """Bytes from the one base64 that stands for them."""
    try:
        content = binascii.a2b_base64(text.encode())
    except ValueError:
        content = b""
    if _base64(content) != text:
        raise FormatError("bundle", f"{name} is not base64", where=_NAME)
    return content


def _short(origin: Origin) -> Origin:
    return msgspec.structs.replace(
        origin,
        piece=_cut(origin.piece),
        source=_cut(origin.source),
        address=_cut(origin.address),
        fetched_at=_second(origin.fetched_at),
    )


def _cut(text: str) -> str:
    """Text as long as it may be, as a reader allows."""
    text = "".join(c if not "\ud800" <= c <= "\udfff" else "\ufffd" for c in text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _second(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)
