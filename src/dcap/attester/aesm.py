"""AESM: Intel's daemon makes the quote, an enclave of ours its report. Out of process, one socket.

    quote = AesmAttester(reporter).quote(report_data)

Per request one connection, and a deadline. The daemon keeps its attestation key in memory: after a
restart it answers 42 until it is initialised anew, which is done here, once. Not here: what is said at
the socket (`formats.aesm`), how an enclave is asked (`Reporter`), the library in process (`dcap_ql`).

Source: `quote-provider.md` §5.4, §6 rows 11, 19 and 20.
"""

import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from dcap.attester import aesm_errors
from dcap.attester.aesm_errors import KEY_LOST, NO_ECDSA, REFUSALS, SILENT, TRUNCATED, UNSUPPORTED
from dcap.attester.attester import Description, Reporter, padded
from dcap.attester.bound_quote import bound_quote
from dcap.attester.reported import expect_over, no_reporter, report_for
from dcap.attester.surroundings import Surroundings
from dcap.errors import AttesterError, FormatError
from dcap.formats import aesm
from dcap.formats.aesm import (
    ECDSA_P256,
    HEAD_SIZE,
    KEY_ID_SIZE,
    MAX_MESSAGE,
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
    Unsupported,
)
from dcap.formats.local_report import TARGET_INFO_SIZE
from dcap.formats.protobuf import MOST_32

NAME: Final = "aesm"
SOCKET: Final = "/var/run/aesmd/aesm.socket"
#: Of older releases, which Gramine still looks for.
ABSTRACT: Final = "@sgx_aesm_socket_base"
#: Of the library's out-of-process mode; where it holds an address ("/…", "@…"), that is asked.
ADDRESS_VARIABLE: Final = "SGX_AESM_ADDR"
#: Seconds for one request. The first after a start makes a key, and asks Intel or a PCCS.
TIMEOUT: Final = 60.0
_LOOK: Final = 2.0
_MOST_KEYS: Final = 64
_MOST_KEY_ID: Final = 4096
_RETRY: Final = 0.01
_CHUNK: Final = 65536

_Read = TypeVar("_Read")
_Answer = TypeVar(
    "_Answer",
    InitQuoteExAnswer,
    GetQuoteSizeExAnswer,
    GetQuoteExAnswer,
    GetSupportedAttKeyIdNumAnswer,
    GetSupportedAttKeyIdsAnswer,
)


class AesmAttester:
    """Quotes by AESM. `address` is a path, or "@name" for a socket of the abstract namespace."""

    name: Final = NAME

    def __init__(
        self,
        reporter: Reporter | None = None,
        address: str | Path = SOCKET,
        *,
        timeout: float = TIMEOUT,
    ) -> None:
        self.address = str(address)
        self._reporter = reporter
        self._timeout = timeout

    @classmethod
    def found(
        cls,
        surroundings: Surroundings,
        reporter: Reporter | None = None,
        *,
        timeout: float = TIMEOUT,
    ) -> "AesmAttester":
        """The AESM of a machine, be there one or not: `describe` tells."""
        named = surroundings.environ.get(ADDRESS_VARIABLE, "")
        if not named.startswith(("/", "@")):
            named = SOCKET
            if not surroundings.root.look(SOCKET).is_there:
                listening = surroundings.root.text("/proc/net/unix").split()
                named = ABSTRACT if ABSTRACT in listening else SOCKET
        address = named if named.startswith("@") else surroundings.host(named)
        return cls(reporter, address, timeout=timeout)

    def describe(self) -> Description:
        """The socket, whether anybody listens there, and whether there is a reporter."""
        facts = [_socket_fact(self.address)]
        why_not, mend = "", ""
        try:
            self._connected(time.monotonic() + _LOOK).close()
            facts.append("it takes connections")
        except AttesterError as error:
            why_not, mend = error.what, error.mend
        if not why_not and self._reporter is None:
            lacking = no_reporter(self.name)
            why_not, mend = lacking.what, lacking.mend
        return Description(
            name=self.name,
            tee="SGX",
            usable=not why_not,
            found=tuple(facts),
            why_not=why_not,
            mend=mend,
        )

    def quote(self, report_data: bytes) -> bytes:
        """A quote over the reporter's report, of ECDSA P-256."""
        if self._reporter is None:
            raise no_reporter(self.name)
        data = padded(report_data)
        key_id = self._key_id()
        try:
            return self._quote(self._reporter, key_id, data)
        except AttesterError as error:
            if error.code != KEY_LOST.code:
                raise
        return self._quote(self._reporter, key_id, data)  # aesmd was restarted meanwhile

    # The procedure

    def _key_id(self) -> bytes:
        """1. Which keys there are; of these the ECDSA P-256 one."""
        kinds = GetSupportedAttKeyIdNum(timeout=self._micros)
        count = self._ask(kinds, GetSupportedAttKeyIdNumAnswer).att_key_id_num or 0
        if count > _MOST_KEYS:
            raise self._odd(f"it would have {count} kinds of key")
        if count:
            wanted = GetSupportedAttKeyIds(buf_size=count * KEY_ID_SIZE, timeout=self._micros)
            octets = self._ask(wanted, GetSupportedAttKeyIdsAnswer).att_key_ids or b""
            for key_id in self._read(aesm.read_key_ids, octets):
                if key_id.algorithm_id == ECDSA_P256:
                    return key_id.to_bytes()
        raise self._refused(
            NO_ECDSA, f"AESM has no ECDSA key: it offers {count} kinds, none of them"
        )

    def _quote(self, reporter: Reporter, key_id: bytes, report_data: bytes) -> bytes:
        """2. Make the key ready. 3. The report for its enclave. 4. The size. 5. The quote."""
        target_info = self._initialised(key_id)
        report = report_for(reporter, target_info, report_data)
        wanted = GetQuoteSizeEx(att_key_id=key_id, timeout=self._micros)
        size = self._ask(wanted, GetQuoteSizeExAnswer).quote_size or 0
        if not 0 < size <= MAX_MESSAGE:
            raise self._odd(f"a quote would have {size} bytes")
        request = GetQuoteEx(
            report=report.to_bytes(), att_key_id=key_id, buf_size=size, timeout=self._micros
        )
        answered = self._ask(request, GetQuoteExAnswer).quote or b""
        quote = bound_quote(answered, report_data, by=self.address)
        expect_over(quote, report, by=self.address)
        return quote

    def _initialised(self, key_id: bytes) -> bytes:
        """TARGETINFO of the quoting enclave: first the size of the key's id is asked, then the rest."""
        wanted = InitQuoteEx(att_key_id=key_id, b_pub_key_id=False, timeout=self._micros)
        size = self._ask(wanted, InitQuoteExAnswer).pub_key_id_size or 0
        if not 0 < size <= _MOST_KEY_ID:
            raise self._odd(f"the id of its key would have {size} bytes")
        request = InitQuoteEx(
            att_key_id=key_id, b_pub_key_id=True, buf_size=size, timeout=self._micros
        )
        target_info = self._ask(request, InitQuoteExAnswer).target_info or b""
        if len(target_info) != TARGET_INFO_SIZE:
            raise self._odd(f"its TARGETINFO has {len(target_info)} bytes")
        return target_info

    # One request

    @property
    def _micros(self) -> int:
        return min(int(self._timeout * 1_000_000), MOST_32)

    def _ask(self, request: aesm.Request, kind: type[_Answer]) -> _Answer:
        call = aesm.call_of(request).name
        response = self._read(aesm.read_response, self._exchange(aesm.write_request(request), call))
        if isinstance(response, Unsupported):
            raise self._refused(UNSUPPORTED, f"AESM does not know {call}")
        if not isinstance(response, kind):
            raise self._odd(f"it answered {call} with the answer to another call")
        if response.error_code:
            error = aesm.error_of(response.error_code)
            row = REFUSALS.get(response.error_code, aesm_errors.OTHER)
            said = f"{call}: error {response.error_code}, {error.name}: {error.meaning}"
            raise self._refused(row, f"{row.what} ({said})")
        return response

    def _exchange(self, request: bytes, call: str) -> bytes:
        """The response, head included, within the deadline."""
        until = time.monotonic() + self._timeout
        with self._connected(until) as connected:
            try:
                _set_deadline(connected, until)
                connected.sendall(request)
                head = self._receive(connected, HEAD_SIZE, until, call)
                size = self._read(aesm.message_size, head)
                return head + self._receive(connected, size, until, call)
            except TimeoutError:
                what = f"AESM did not answer {call} within {self._timeout:g} s"
                raise self._refused(SILENT, what) from None
            except OSError as error:
                what = f"the connection broke at {call}: {_said(error)}"
                raise self._refused(TRUNCATED, what) from None

    def _receive(self, connected: socket.socket, size: int, until: float, call: str) -> bytes:
        octets = bytearray()
        while len(octets) < size:
            _set_deadline(connected, until)
            more = connected.recv(min(size - len(octets), _CHUNK))
            if not more:
                what = f"AESM hung up at {call}, {len(octets)} bytes into {size}"
                raise self._refused(TRUNCATED, what)
            octets += more
        return bytes(octets)

    def _connected(self, until: float) -> socket.socket:
        """A connection. Each way in which there is none has its own error."""
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            while True:
                _set_deadline(connected, until)
                try:
                    connected.connect(address)
                except BlockingIOError:  # its queue is full, which the kernel does not wait for
                    time.sleep(_RETRY)
                else:
                    return connected
        except OSError as error:
            connected.close()
            row = aesm_errors.unconnected(error)
            raise self._refused(row, f"{row.what} ({_said(error)})") from None

    # Errors

    def _read(self, reader: Callable[[bytes], _Read], octets: bytes) -> _Read:
        """What a reader makes of the daemon's bytes; its refusal is AESM's fault."""
        try:
            return reader(octets)
        except FormatError as error:
            raise self._odd(f"{error.what} ({error.where})") from error

    def _odd(self, what: str) -> AttesterError:
        return AttesterError(
            "aesm-answer",
            f"what answers is not AESM as it is specified: {what}",
            where=self.address,
            mend="`ss -xlp | grep aesm` shows who listens; `sudo systemctl restart aesmd`",
        )

    def _refused(self, row: AttesterError, what: str) -> AttesterError:
        return AttesterError(row.code, what, where=self.address, mend=row.mend)


def _set_deadline(connected: socket.socket, until: float) -> None:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connected.settimeout(left)


def _said(error: OSError) -> str:
    return error.strerror or str(error) or "timed out"


def _socket_fact(address: str) -> str:
    """What `ls -l` would show of the socket, in a line."""
    if address.startswith("@"):
        return f"{address}: a socket of the abstract namespace"
    try:
        found = Path(address).stat()
    except OSError as error:
        return f"{address}: {_said(error)}"
    kind = "a socket" if stat.S_ISSOCK(found.st_mode) else "no socket"
    mode = stat.S_IMODE(found.st_mode)
    return f"{address}: {kind}, mode {mode:04o}, owner {found.st_uid}:{found.st_gid}"
