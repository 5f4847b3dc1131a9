"""Intel's AESM, simulated: reports of a machine's enclaves in, its ECDSA quotes out.

    with aesm_service(lambda: machine, Path("aesm.socket")):
        ...                                  # attesters, the SDK's sgx_get_quote_ex, Gramine, Occlum

It speaks as `aesmd` does: one request a connection. A report is taken that an enclave of this machine
made for its quoting enclave, and nobody changed (else error 45). The attestation key lives as long as
the service: before `initQuoteEx` has made one there is none (error 42), as after a restart of the real
one. What cannot be read gets no answer. Not here: the wire format (`formats.aesm`), EPID, launch tokens.

Source: Intel `aesm_error.h`, `quote_ex_service`; `quote-provider.md` §5.4.
"""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from dcap.errors import DcapError, FormatError
from dcap.formats.aesm import (
    CALLS,
    ECDSA_P256,
    HEAD_SIZE,
    KEY_ID_SIZE,
    AttestationKeyId,
    GetQuoteEx,
    GetQuoteExAnswer,
    GetQuoteSizeEx,
    GetQuoteSizeExAnswer,
    GetSupportedAttKeyIdNum,
    GetSupportedAttKeyIdNumAnswer,
    GetSupportedAttKeyIds,
    GetSupportedAttKeyIdsAnswer,
    InitQuoteEx,
    InitQuoteExAnswer,
    Request,
    Response,
    SelectAttKeyIdAnswer,
    Unsupported,
    call_of,
    message_size,
    read_key_ids,
    read_request,
    write_response,
)
from dcap.formats.certification import CertificationType
from dcap.formats.local_report import REPORT_SIZE, LocalReport
from dcap.simulator.documents import ENCLAVES
from dcap.simulator.platform import Platform
from dcap.simulator.reports import is_genuine, qe_target_info
from dcap.simulator.stream_server import receive, stream_server, unix_listener

UNEXPECTED, PARAMETER, UNSUPPORTED_KEY, NOT_INITIALIZED, REPORT = 1, 3, 38, 42, 45
_KEY_HASH_SIZE: Final = 32
_CALLS: Final = frozenset(call.name for call in CALLS)
_SIGNER, _PRODUCT = ENCLAVES["QE"]
_KEY_ID: Final = AttestationKeyId.ecdsa(bytes.fromhex(_SIGNER), _PRODUCT).to_bytes()


@contextmanager
def aesm_service(
    machine: Callable[[], Platform],
    path: Path,
    *,
    certification: int = CertificationType.PCK_CERTIFICATE_CHAIN,
    failing: Mapping[str, int] | None = None,
    sent: Callable[[bytes], bytes] = bytes,
) -> Iterator[Path]:
    """Serve at a Unix socket until the block ends.

    `certification` is the type of what certifies the quotes: 3 where no quote provider is installed.
    Tests order faults: `failing` is the name of a call ("getQuoteEx") -> the error that answers it;
    `sent` makes of an answer's bytes what goes over the wire. Raises `ConfigError` (`simulator-socket`).
    """
    strange = set(failing or ()) - _CALLS
    if strange:
        raise ValueError(f"AESM has no {', '.join(sorted(strange))}")
    service = _Service(machine, certification, failing or {}, sent)
    with stream_server(unix_listener(path), service.serve):
        yield path


class _Refused(Exception):  # noqa: N818 - an answer, no failure
    """The request is answered with an error."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Service:
    def __init__(
        self,
        machine: Callable[[], Platform],
        certification: int,
        failing: Mapping[str, int],
        sent: Callable[[bytes], bytes],
    ) -> None:
        self._machine, self._certification = machine, certification
        self._failing, self._sent = failing, sent
        self._has_key = threading.Event()

    def serve(self, connection: socket.socket) -> None:
        """One request, one answer."""
        head = receive(connection, HEAD_SIZE)
        request = read_request(head + receive(connection, message_size(head)))
        connection.sendall(self._sent(write_response(self._answer(request))))

    def _answer(self, request: Request | None) -> Response:
        if request is None:
            return Unsupported(error_code=UNEXPECTED)
        call = call_of(request)
        if call.name in self._failing:
            return call.response(error_code=self._failing[call.name])
        try:
            return self._obey(request, self._machine())
        except _Refused as refused:
            code = refused.code
        except DcapError:  # the world cannot be read just now
            code = UNEXPECTED
        return call.response(error_code=code)

    def _obey(self, request: Request, machine: Platform) -> Response:
        match request:
            case GetSupportedAttKeyIdNum():
                return GetSupportedAttKeyIdNumAnswer(error_code=0, att_key_id_num=1)
            case GetSupportedAttKeyIds():
                _expect(request.buf_size >= KEY_ID_SIZE)
                return GetSupportedAttKeyIdsAnswer(error_code=0, att_key_ids=_KEY_ID)
            case InitQuoteEx():
                return self._initialise(request, machine)
            case GetQuoteSizeEx():
                self._expect_key(request.att_key_id)
                size = len(self._quote(machine))
                return GetQuoteSizeExAnswer(error_code=0, quote_size=size)
            case GetQuoteEx():
                self._expect_key(request.att_key_id)
                return self._sign(request, machine)
            case _:
                return SelectAttKeyIdAnswer(error_code=0, selected_att_key_id=_KEY_ID)

    def _initialise(self, request: InitQuoteEx, machine: Platform) -> Response:
        _expect_ecdsa(request.att_key_id)
        if not request.b_pub_key_id:
            return InitQuoteExAnswer(error_code=0, pub_key_id_size=_KEY_HASH_SIZE)
        _expect((request.buf_size or 0) >= _KEY_HASH_SIZE)
        self._has_key.set()
        return InitQuoteExAnswer(
            error_code=0,
            target_info=qe_target_info(machine),
            pub_key_id_size=_KEY_HASH_SIZE,
            pub_key_id=hashlib.sha256(machine.draft().attestation_key.public_key).digest(),
        )

    def _sign(self, request: GetQuoteEx, machine: Platform) -> Response:
        _expect(len(request.report) == REPORT_SIZE)
        if not is_genuine(machine, request.report):
            raise _Refused(REPORT)
        quote = self._quote(machine, LocalReport.parse(request.report))
        _expect((request.buf_size or 0) >= len(quote))
        return GetQuoteExAnswer(error_code=0, quote=quote)

    def _quote(self, machine: Platform, report: LocalReport | None = None) -> bytes:
        """The quote over a report; without one, a quote of the same size."""
        draft = machine.draft(certification=self._certification)
        if report is not None:
            draft = msgspec.structs.replace(draft, body=report.body)
        return machine.sign(draft)

    def _expect_key(self, key_id: bytes | None) -> None:
        _expect_ecdsa(key_id)
        if not self._has_key.is_set():
            raise _Refused(NOT_INITIALIZED)


def _expect(holds: bool) -> None:  # noqa: FBT001 - a condition
    if not holds:
        raise _Refused(PARAMETER)


def _expect_ecdsa(key_id: bytes | None) -> None:
    """That a key is asked for of which the service makes quotes."""
    try:
        (known,) = read_key_ids(key_id or b"")
    except (FormatError, ValueError):
        raise _Refused(PARAMETER) from None
    if known.algorithm_id != ECDSA_P256:
        raise _Refused(UNSUPPORTED_KEY)
