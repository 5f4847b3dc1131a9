"""What people hold, recognised by itself, and the one quote taken out of it.

Readers and writers stand together: `text` (hex, base64, PEM), `open_enclave` (EGo too), `conclave`,
`bundle` (our own).
Zero padding after a quote is dropped here; anything else after it stays, so that `Quote.parse`
refuses it. A quote is told by its header alone and handed on as it is, truncated or of a foreign
version, so that `Quote.parse` can say exactly what is wrong.

Not here: whether a quote is sound (`quote`) or true, and whether a container's bindings hold
(`verification.verifier`).
"""

import msgspec

from dcap.errors import FormatError
from dcap.formats.collateral import Collateral
from dcap.formats.containers import bundle, conclave, mistakes, open_enclave, text
from dcap.formats.containers.layer import Binding, Layer, Record
from dcap.formats.quote import INTEL_QE_VENDOR_ID, TEE_SGX, TEE_TDX, Quote, quote_size

__all__ = ["MAX_SIZE", "MAX_WRAPPINGS", "WRAPPINGS", "Binding", "Contained", "Record", "recognise"]

#: Bytes of input, unless it is a bundle. A quote with collateral weighs 60 KB; hex doubles it.
MAX_SIZE = 1024 * 1024
MAX_WRAPPINGS = 4

ZERO_PADDED = "zero-padded"
#: Every word that can stand in `Contained.wrappings`.
WRAPPINGS = (
    text.HEX,
    text.BASE64,
    text.PEM,
    ZERO_PADDED,
    open_enclave.REPORT,
    open_enclave.EVIDENCE,
    conclave.EII,
    bundle.BUNDLE,
)

_VENDOR_AT = 12
_KEY_TYPES = (2, 3)
_VERSIONS = (3, 4, 5)


class Contained(msgspec.Struct, frozen=True, kw_only=True):
    """A quote and what it came in.

    `quote` is its exact bytes, `parsed` what they say where they could be read at once; `wrappings`
    are outermost first, empty for a raw quote. `bindings` are the container's claims on the report
    data, not yet compared (`verification.verifier` does); `collateral` is what the container carried,
    `record` what it says of when and whence; `facts` are for people to look at.
    """

    quote: bytes
    parsed: Quote | None = None
    wrappings: tuple[str, ...] = ()
    bindings: tuple[Binding, ...] = ()
    collateral: Collateral | None = None
    record: Record | None = None
    facts: dict[str, str] = {}


def recognise(data: bytes) -> Contained:
    """Take the one quote out of `data`.

    Raises `FormatError`: `evidence-unrecognised` (with a hint), `evidence-too-large`,
    `evidence-nested`, `evidence-several`, or the container's own code.
    """
    limit = bundle.MAX_SIZE if bundle.is_bundle(data[: bundle.MAX_SIZE + 1]) else MAX_SIZE
    if len(data) > limit:
        raise FormatError(
            "evidence-too-large",
            f"{len(data)} bytes; the limit is {limit}",
            mend="give the quote alone, without what came beside it",
        )
    content = data
    names: tuple[str, ...] = ()
    bindings: tuple[Binding, ...] = ()
    collateral: Collateral | None = None
    record: Record | None = None
    facts: dict[str, str] = {}
    while not _looks_like_a_quote(content):
        layer = _open(content)
        if layer is None:
            raise _within(mistakes.unrecognised(content), names)
        content = layer.content
        names = _add(names, layer.names)
        bindings += layer.bindings
        if collateral is None:  # the outermost's, with its own record
            collateral, record = layer.collateral, layer.record
        facts |= layer.facts
        if layer.holds_quote:
            break
    parsed = _parsed(content)
    size = len(content) if parsed else _size_without_padding(content)
    if size != len(content):
        names = _add(names, (ZERO_PADDED,))
    return Contained(
        quote=content[:size],
        parsed=parsed,
        wrappings=names,
        bindings=bindings,
        collateral=collateral,
        record=record,
        facts=facts,
    )


def _looks_like_a_quote(data: bytes) -> bool:
    """Whether the header is that of a quote, be the quote sound or not."""
    if data[_VENDOR_AT : _VENDOR_AT + 16] == INTEL_QE_VENDOR_ID:
        return True
    version, key_type = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little")
    tee_type = int.from_bytes(data[4:8], "little")
    return version in _VERSIONS and key_type in _KEY_TYPES and tee_type in (TEE_SGX, TEE_TDX)


def _open(data: bytes) -> Layer | None:
    return (
        open_enclave.open_layer(data)
        or conclave.open_layer(data)
        or bundle.open_layer(data)
        or text.open_layer(data)
    )


def _add(names: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """One more layer, or the refusal of a fifth: every layer costs, and nobody needs five."""
    if len(names) + len(more) > MAX_WRAPPINGS:
        raise FormatError(
            "evidence-nested",
            f"the quote is wrapped more than {MAX_WRAPPINGS} times",
            where=", ".join(names),
            mend="take the outer layers off first",
        )
    return names + more


def _parsed(data: bytes) -> Quote | None:
    try:
        return Quote(data)
    except FormatError:
        return None


def _size_without_padding(data: bytes) -> int:
    """The quote's size if only zeros follow it; otherwise all of `data`."""
    try:
        size = quote_size(data)
    except FormatError:
        return len(data)
    if data.count(0, size) != len(data) - size:
        return len(data)
    try:
        Quote(data[:size])
    except FormatError:  # its own lengths are wrong: what follows is no padding
        return len(data)
    return size


def _within(error: FormatError, names: tuple[str, ...]) -> FormatError:
    return error.within(f"in {', '.join(names)}") if names else error
