"""The process in which Intel's quoting library lives: it may abort, hang, crash or exit here.

    python -I -m dcap.attester.dcap_ql_process LIBRARY PARENT

The quoting enclave stays loaded between the steps, as its TARGETINFO and its quote belong together; at
the end it is unloaded. Not here: the pipes (`qpl.isolated_inside`), what a quote is worth, limits of
time (`dcap_ql`).

Source: `quote-provider.md` §5.5; Intel's `sgx_dcap_ql_wrapper.h`.
"""

import os
import sys
from contextlib import suppress
from ctypes import byref, c_char_p, c_int, c_uint8, c_uint32
from typing import Any, Final, NoReturn

import msgspec

from dcap.attester.dcap_ql_messages import MOST_QUOTE, PARTS, Loaded, Outcome, Step
from dcap.formats.local_report import REPORT_SIZE, TARGET_INFO_SIZE
from dcap.qpl.isolated_inside import detach, open_library, receive, send

#: `SGX_QL_PERSISTENT`: the enclaves stay loaded until they are cleaned up.
_PERSISTENT: Final = 0
_TargetInfo = c_uint8 * TARGET_INFO_SIZE
_Report = c_uint8 * REPORT_SIZE


class _MissingError(Exception):
    """The library has no such function."""


class Library:
    """The library, and what it has been asked last."""

    def __init__(self, path: str) -> None:
        self._library = open_library(path)
        self._function = ""

    def take(self, step: Step) -> Outcome:
        """One step."""
        try:
            match step.kind:
                case "path":
                    code = self._call(
                        "sgx_ql_set_path", c_int(PARTS[step.part]), c_char_p(step.path)
                    )
                    return self._outcome(code)
                case "target-info":
                    return self._target_info()
                case "quote":
                    return self._quote(step.report)
        except _MissingError:
            return Outcome(function=self._function, missing=True)

    def clean_up(self) -> None:
        """Unload the enclaves."""
        with suppress(_MissingError):
            self._call("sgx_qe_cleanup_by_policy")

    def _target_info(self) -> Outcome:
        code = self._call("sgx_qe_set_enclave_load_policy", c_uint32(_PERSISTENT))
        if code:
            return self._outcome(code)
        made = _TargetInfo()
        code = self._call("sgx_qe_get_target_info", byref(made))
        return self._outcome(code, bytes(made))

    def _quote(self, report: bytes) -> Outcome:
        size = c_uint32()
        code = self._call("sgx_qe_get_quote_size", byref(size))
        if code:
            return self._outcome(code)
        if not 0 < size.value <= MOST_QUOTE:
            return Outcome(function=self._function, size=size.value)
        made = (c_uint8 * size.value)()
        code = self._call("sgx_qe_get_quote", byref(_Report(*report)), size, byref(made))
        return self._outcome(code, bytes(made))

    def _outcome(self, code: int, content: bytes = b"") -> Outcome:
        return Outcome(function=self._function, code=code, content=b"" if code else content)

    def _call(self, name: str, *arguments: Any) -> int:
        self._function = name
        try:
            function = self._library[name]
        except AttributeError:
            raise _MissingError from None
        function.restype = c_uint32
        return int(function(*arguments))


def main() -> NoReturn:
    """Load the library, then take steps until nobody asks."""
    path, parent = sys.argv[1:3]
    asked, answers = detach(int(parent))
    try:
        library = Library(path)
    except OSError as error:
        send(answers, Loaded(error=str(error)))
        os._exit(1)
    send(answers, Loaded())
    decode = msgspec.msgpack.Decoder(Step).decode
    while body := receive(asked):
        send(answers, library.take(decode(body)))
    library.clean_up()
    os._exit(0)  # without the library's own farewells, which may hang


if __name__ == "__main__":
    main()
