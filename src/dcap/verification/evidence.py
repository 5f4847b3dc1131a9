"""Evidence: a quote, and what travelled with it.

What came beside the quote counts only as far as the quote's report data bind it; those bindings are
checked by the verifier, whether or not a policy asks about them.

Source: RFC 9334 (Evidence); containers: `formats.containers`.
"""

import msgspec

from dcap.errors import FormatError
from dcap.formats.collateral import Collateral
from dcap.formats.containers import Binding, Record, recognise
from dcap.formats.quote import Quote


class Evidence(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A claim: nothing in it has been checked.

    `wrappings` names the containers it came in, outermost first; `size` is the quote's own length in
    bytes. `pck_certificate_chain` (PEM) serves quotes that carry no chain of their own. `record` is what
    a bundle says of its own making.
    """

    quote: Quote
    size: int
    wrappings: tuple[str, ...] = ()
    bindings: tuple[Binding, ...] = ()
    collateral: Collateral | None = None
    record: Record | None = None
    pck_certificate_chain: bytes | None = None

    @classmethod
    def recognise(cls, data: bytes) -> "Evidence":
        """Read evidence in any container. Raises `FormatError`."""
        contained = recognise(data)
        try:
            quote = contained.parsed or Quote(contained.quote)
        except FormatError as error:
            raise error.within(contained.wrappings[-1]) if contained.wrappings else error from None
        return cls(
            quote=quote,
            size=len(contained.quote),
            wrappings=contained.wrappings,
            bindings=contained.bindings,
            collateral=contained.collateral,
            record=contained.record,
        )

    @classmethod
    def of(cls, quote: Quote) -> "Evidence":
        """The bare quote, as evidence."""
        return cls(quote=quote, size=len(quote.to_bytes()))

    @property
    def format(self) -> str:
        """What it is, in a few words: "SGX quote v3 (base64 of an open-enclave-report)"."""
        name = f"{self.quote.tee} quote v{self.quote.header.version}"
        return f"{name} ({' > '.join(self.wrappings)})" if self.wrappings else name
