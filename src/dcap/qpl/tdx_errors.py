"""Codes met on TDX hosts: the TD quote library (0x11000 + n) and the QGS messages (0x12000 + n).

Not the enum of the guest's `tdx_attest` library, which counts in small numbers of its own, and not
a full list: only the ranges and the one value that are known from the field. Mirrors the bases in
Intel's `td_ql_wrapper.h` and `qgs_msg_lib.h`. A row whose low bits are zero speaks for its range.
"""

from typing import Final, TypeAlias

# Columns: code, name, family, meaning, causes, remedy, see also.
Row: TypeAlias = tuple[int, str, str, str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ROWS: Final[tuple[Row, ...]] = (
    (0x11000, "TEE_ATT", "tee_att_error_t",
     ("Base of the TD quote library's codes (`tee_att_…` calls): 0x11000 with a number in the "
      "low bits. QGS (qgsd) logs them on the TDX host."),
     (("The low bits are not decoded here; the lines before it in the log, from the provider, "
       "are."),),
     (("`journalctl -u qgsd -n 50` on the TDX host: look for `[QPL]` lines and `dcap explain` "
       "their codes."),),
     ("0x11001",)),
    (0x11001, "TEE_ATT_ERROR_UNEXPECTED", "tee_att_error_t",
     'The TD quote library failed, as in the log line "tee_att_get_quote_size return 0x11001".',
     ("The quote provider under it failed: seen with QCNL 0xB011, after qgsd had run for days.",
      ("qgsd has no usable provider: TD logic loads `libdcap_quoteprov.so.1` and no other name, "
       "and has no fallback to an encrypted PPID.")),
     (("`journalctl -u qgsd -n 50` on the TDX host: the `[QPL]` lines before it have the real "
       "code."),
      "`sudo systemctl restart qgsd` (it reads /etc/sgx_default_qcnl.conf once).",
      "`ls -l /usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so.1`"),
     ("0xE044", "0xB011", "0xE00E")),
    (0x12000, "QGS_MSG", "qgs_msg_error_t",
     ("Base of the QGS message library's codes: 0x12000 with a number in the low bits. Guest and "
      "QGS did not understand each other's message."),
     (("A client that is not Intel's writes the vsock length in the wrong order: it is 4 bytes, "
       "big-endian."),
      ("A message header that is not little-endian u16 major (1), u16 minor, u32 type, u32 size, "
       "u32 error.")),
     (("`journalctl -u qgsd -n 50` on the host; in the guest `cat /etc/tdx-attest.conf` "
       "(port=4050)."),
      "Try another road in the guest, such as configfs: `ls /sys/kernel/config/tsm/report`."),
     ()),
)
# fmt: on
