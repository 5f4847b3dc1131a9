"""What an attester hands on: one whole quote over the report data that were asked for, or an error.

A daemon, library or file may answer with anything; what does not bind what was asked for would be
refused by whoever verifies it, later and elsewhere. The signature is not checked here (`verification`).
"""

from typing import Literal

from dcap.errors import AttesterError, FormatError
from dcap.formats.quote import Quote, quote_size


def bound_quote(
    answered: bytes, report_data: bytes, *, by: str, tee: Literal["SGX", "TDX"] | None = None
) -> bytes:
    """The quote out of an answer, which may be followed by zeros, as buffers are.

    `by` names who answered. Raises `AttesterError`: `attester-empty`, `attester-quote`,
    `attester-binding`.
    """
    if not answered.strip(b"\0"):
        raise AttesterError(
            "attester-empty",
            "the answer is empty: no quote was made, and no reason given",
            where=by,
            mend="`dcap doctor --for attester` looks for the cause",
        )
    try:
        size = quote_size(answered)
        quote = Quote(answered if answered[size:].strip(b"\0") else answered[:size])
    except FormatError as error:
        raise _no_quote(f"the answer is no quote: {error.what}", by) from None
    if tee is not None and quote.tee != tee:
        raise _no_quote(f"the quote is one of {quote.tee}, and {tee} was asked for", by)
    if quote.body.report_data != report_data:
        raise AttesterError(
            "attester-binding",
            "the quote does not bind the report data that were asked for: it was made for somebody "
            "else",
            where=by,
            mend="see that nobody else asks there at the same time, and ask again",
        )
    return answered[:size]


def _no_quote(what: str, by: str) -> AttesterError:
    mend = "look whether Intel's software (or what stands in for it) is of one release"
    return AttesterError("attester-quote", what, where=by, mend=mend)
