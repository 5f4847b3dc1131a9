"""A host in any Python from 3.6: loads the library by ctypes and calls it on threads. Not a test.

    python ctypes_host.py LIBRARY

It imports nothing of `dcap`: the library is no module of this interpreter, whatever its version.
"""

import ctypes
import json
import sys
import threading

CALLS = 50


class Collateral(ctypes.Structure):
    """`sgx_ql_qve_collateral_t`."""

    _fields_ = (
        ("version", ctypes.c_uint32),
        ("tee", ctypes.c_uint32),
        *(
            pair
            for i in range(7)
            for pair in ((f"bytes{i}", ctypes.c_void_p), (f"size{i}", ctypes.c_uint32))
        ),
    )


def one_call(library: ctypes.CDLL) -> "tuple[int, bytes]":
    """The code, and all bytes of the set, one piece after another."""
    out = ctypes.POINTER(Collateral)()
    fmspc = (ctypes.c_uint8 * 6)(0, 0x90, 0x6E, 0xD5, 0, 0)
    code = library.sgx_ql_get_quote_verification_collateral(
        fmspc, ctypes.c_uint16(6), b"platform", ctypes.byref(out)
    )
    if code != 0:
        return code, b""
    found = out.contents
    pieces = [
        ctypes.string_at(getattr(found, f"bytes{i}"), getattr(found, f"size{i}")) for i in range(7)
    ]
    library.sgx_ql_free_quote_verification_collateral(out)
    return code, b"".join(pieces)


def main() -> None:
    """Call, compare, tell."""
    library = ctypes.CDLL(sys.argv[1])
    first = one_call(library)
    different = []

    def work() -> None:
        different.extend(1 for _ in range(CALLS) if one_call(library) != first)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    found = {"code": first[0], "different": len(different), "collateral": first[1].hex()}
    sys.stdout.write(json.dumps(found) + "\n")


main()
