"""Quote headers, SGX enclave reports and TD reports: fixed-size tables of fields, written out.

Writing only; nothing is read back. A field is an integer (little-endian) or bytes (shorter bytes
are padded with zeros, longer ones are refused). Reserved bytes are fields like the others, so a
test can set them.

Source: Intel SGX DCAP ECDSA Quote Library API (quote formats 3 to 5); Intel TDX module ABI.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from .documents import TDX_COMPONENTS
from .pck import COMPONENTS

Value = bytes | int

INTEL_VENDOR_ID = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
SGX = 0x00000000
TDX = 0x00000081
ECDSA_P256 = 2

SGX_DEBUG = 0x02
TD_DEBUG = 1 << 0
TD_SEPT_VE_DISABLE = 1 << 28
TD_MIGRATABLE = 1 << 29

# TDX module 1.x at its newest level (TDX_01, isvsvn 6), SEAM components as the first TCB level.
TEE_TCB_SVN = bytes((6, 1, *TDX_COMPONENTS[2:]))


def _measurement(label: str, size: int = 48) -> bytes:
    return hashlib.sha384(b"forge " + label.encode()).digest()[:size]


@dataclass(frozen=True)
class Field:
    """One field: name, offset, size in bytes, and what it holds unless told otherwise."""

    name: str
    offset: int
    size: int
    default: Value = 0

    def encode(self, value: Value) -> bytes:
        """The field's bytes; ValueError if `value` does not fit."""
        if isinstance(value, int):
            if value >= 1 << (8 * self.size):
                raise ValueError(f"{self.name}: {value} does not fit {self.size} bytes")
            return value.to_bytes(self.size, "little")
        if len(value) > self.size:
            raise ValueError(f"{self.name}: {len(value)} bytes, at most {self.size} fit")
        return value.ljust(self.size, b"\0")


@dataclass(frozen=True)
class Table:
    """A structure of `size` bytes made of adjoining fields."""

    name: str
    fields: tuple[Field, ...]

    @property
    def size(self) -> int:
        """Where the last field ends."""
        return self.fields[-1].offset + self.fields[-1].size

    def field(self, name: str) -> Field:
        """The field called `name`; TypeError if there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise TypeError(f"{self.name} has no field {name!r}")

    def encode(self, values: Mapping[str, Value]) -> bytes:
        """All fields, `values` over the defaults; TypeError for a name that is not a field."""
        for name in values:
            self.field(name)
        return b"".join(
            field.encode(values.get(field.name, field.default)) for field in self.fields
        )


def _table(name: str, *rows: tuple[int, int, str, Value]) -> Table:
    """A table from (offset, size, name, default) rows, checked to adjoin."""
    at = 0
    for offset, size, field, _ in rows:
        if offset != at:
            raise AssertionError(f"{name}.{field} at {offset}, expected {at}")
        at += size
    return Table(name, tuple(Field(field, at, size, value) for at, size, field, value in rows))


HEADER = _table(
    "quote header",
    (0, 2, "version", 3),
    (2, 2, "attestation_key_type", ECDSA_P256),
    (4, 4, "tee_type", SGX),
    (8, 2, "qe_svn", 0),
    (10, 2, "pce_svn", 0),
    (12, 16, "vendor_id", INTEL_VENDOR_ID),
    (28, 20, "user_data", _measurement("qe id", 16)),
)

SGX_REPORT = _table(
    "SGX report",
    (0, 16, "cpusvn", bytes(COMPONENTS)),
    (16, 4, "miscselect", 0),
    (20, 12, "reserved1", 0),
    (32, 16, "isvextprodid", 0),
    (48, 8, "flags", 0x05),
    (56, 8, "xfrm", 0xE7),
    (64, 32, "mrenclave", _measurement("mrenclave", 32)),
    (96, 32, "reserved2", 0),
    (128, 32, "mrsigner", _measurement("mrsigner", 32)),
    (160, 32, "reserved3", 0),
    (192, 64, "configid", 0),
    (256, 2, "isvprodid", 7),
    (258, 2, "isvsvn", 3),
    (260, 2, "configsvn", 0),
    (262, 42, "reserved4", 0),
    (304, 16, "isvfamilyid", 0),
    (320, 64, "report_data", 0),
)

_TD_REPORT_10 = (
    (0, 16, "tee_tcb_svn", TEE_TCB_SVN),
    (16, 48, "mrseam", _measurement("mrseam")),
    (64, 48, "mrsignerseam", 0),
    (112, 8, "seamattributes", 0),
    (120, 8, "tdattributes", TD_SEPT_VE_DISABLE),
    (128, 8, "xfam", 0x602E7),
    (136, 48, "mrtd", _measurement("mrtd")),
    (184, 48, "mrconfigid", 0),
    (232, 48, "mrowner", 0),
    (280, 48, "mrownerconfig", 0),
    (328, 48, "rtmr0", _measurement("rtmr0")),
    (376, 48, "rtmr1", _measurement("rtmr1")),
    (424, 48, "rtmr2", _measurement("rtmr2")),
    (472, 48, "rtmr3", 0),
    (520, 64, "report_data", 0),
)

_TD_REPORT_15 = (
    *_TD_REPORT_10,
    (584, 16, "tee_tcb_svn_2", TEE_TCB_SVN),
    (600, 48, "mrservicetd", 0),
)

_TD_REPORT_15_EX = (
    *_TD_REPORT_15,
    (648, 1, "vmid", 0),
    (649, 32, "td_id", _measurement("td id", 32)),
    (681, 48, "devinfo", 0),
    (729, 48, "init_servtd_hash", 0),
    (777, 8, "init_servtd_attr", 0),
    (785, 16, "init_cpusvn", bytes(COMPONENTS)),
    (801, 16, "init_tee_tcb_svn", TEE_TCB_SVN),
    (817, 12, "init_tee_fmspc", 0),
    (829, 48, "cur_servtd_hash", 0),
    (877, 8, "cur_servtd_attr", 0),
)

TD_REPORTS = {
    "1.0": _table("TD report 1.0", *_TD_REPORT_10),
    "1.5": _table("TD report 1.5", *_TD_REPORT_15),
    "1.5ex": _table("TD report 1.5ex", *_TD_REPORT_15_EX),
}

# Body type of quote version 5 -> the table of that body.
BODIES = {1: SGX_REPORT, 2: TD_REPORTS["1.0"], 3: TD_REPORTS["1.5"], 4: TD_REPORTS["1.5ex"]}


def sgx_report(**fields: Value) -> bytes:
    """An SGX report body, 384 bytes: a 64-bit production enclave unless told otherwise."""
    return SGX_REPORT.encode(fields)


def td_report(kind: str = "1.0", **fields: Value) -> bytes:
    """A TD report body: "1.0" 584, "1.5" 648 or "1.5ex" 885 bytes."""
    return TD_REPORTS[kind].encode(fields)
