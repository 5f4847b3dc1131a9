"""The quote in an answer of Intel's Quote Generation Service, by whatever road the answer came.

An answer that is an error, and one that is none of the service's, become errors that say what to do. Not
here: the roads (`qgs`, `tdx_guest`), the wire format (`formats.qgs`).
"""

from dcap.errors import AttesterError, FormatError
from dcap.formats import qgs


def quote_in(framed: bytes, by: str) -> bytes:
    """The quote of a framed answer. Raises `AttesterError` (`qgs-answer`, `qgs-refused`)."""
    try:
        answer = qgs.read_response(qgs.unframed(framed))
    except FormatError as error:
        raise AttesterError(
            "qgs-answer",
            f"what answered is no Quote Generation Service that we understand: {error.what}",
            where=f"{by}: {error.where}",
            mend="see that Intel's `qgsd` answers there, of a current release",
        ) from None
    if isinstance(answer, qgs.Refusal):
        name, meaning = qgs.ERRORS.get(
            answer.error_code, ("an unknown error", "no reason is known")
        )
        raise AttesterError(
            "qgs-refused",
            f"the Quote Generation Service makes no quote: {meaning} "
            f"(0x{answer.error_code:05X}, {name})",
            where=by,
            mend="its log on the host has the reason: `journalctl -u qgsd`; often the machine is not "
            "registered (`dcap register` there), or its qcnl.conf leads nowhere (`dcap qcnl lint`)",
        )
    if not isinstance(answer, qgs.QuoteResponse):
        raise AttesterError(
            "qgs-answer",
            "the answer is to another question than was asked",
            where=by,
            mend="see that Intel's `qgsd` answers there, of a current release",
        )
    return answer.quote
