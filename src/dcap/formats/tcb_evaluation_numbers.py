"""TCB evaluation data numbers: which generations of TCB info Intel offers, and since when.

Source: Intel PCS API v4, "Get TCB Evaluation Data Numbers". Signed like a TCB info; the envelope's
member is `tcbEvaluationDataNumbers`.
"""

import msgspec

from dcap.errors import FormatError
from dcap.formats.signed_json import Instant, ShortText, U32Number, decode, encode, prepare, utc


class EvaluationNumber(msgspec.Struct, frozen=True, rename="camel"):
    """One generation: its number, the recovery event it answers, and when it came into force."""

    tcb_evaluation_data_number: U32Number
    tcb_recovery_event_date: Instant
    tcb_date: Instant


class TcbEvaluationNumbers(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The signed object, member for member in Intel's order."""

    id: ShortText
    version: int
    issue_date: Instant
    next_update: Instant
    tcb_eval_numbers: list[EvaluationNumber]

    @classmethod
    def parse(cls, body: bytes) -> "TcbEvaluationNumbers":
        """Read the signed object. Raises `FormatError` (`tcb-evaluation-numbers`, `json`)."""
        numbers = decode(body, cls, "TCB evaluation data numbers")
        if numbers.version != 1 or numbers.id not in ("SGX", "TDX"):
            raise FormatError(
                "tcb-evaluation-numbers",
                f'id "{numbers.id}" in version {numbers.version} is not supported',
                where="TCB evaluation data numbers",
            )
        where = "TCB evaluation data numbers"
        for moment in (numbers.issue_date, numbers.next_update):
            utc(moment, where)
        for number in numbers.tcb_eval_numbers:
            utc(number.tcb_recovery_event_date, where)
            utc(number.tcb_date, where)
        return numbers

    def to_bytes(self) -> bytes:
        """The bytes to sign."""
        return encode(self)


prepare(TcbEvaluationNumbers)
