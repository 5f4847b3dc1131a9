"""Reading `sgx_default_qcnl.conf`: what Intel's library makes of it, and what its author meant.

    reading = read_qcnl(data, where="/etc/sgx_default_qcnl.conf")
    reading.config       # what dcap uses
    reading.intel        # what Intel's library uses, after it has discarded or ignored what it does
    reading.remarks      # each such thing: line, column, effect, mend
    reading = load_qcnl(os.environ)                  # $QCNL_CONF_PATH, or the system's file

Intel's library is nearly silent about a broken file and then asks https://localhost:8081; `intel`
follows it exactly. `config` passes over what cannot be misunderstood (a comma too many, a byte order
mark, a missing `/`), with one exception: what turns a check off must be written right.

Not here: how the configuration is obeyed (`dcap.sources`), how a file is written (`qcnl_profiles`).

Source: `quote-provider.md` §1.1-1.4.
"""

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from dcap.errors import ConfigError
from dcap.qpl.qcnl_checks import capped, checks, mended
from dcap.qpl.qcnl_json import is_blank, looks_like_json, parse
from dcap.qpl.qcnl_keys import KEYS
from dcap.qpl.qcnl_legacy import Settings, read_legacy
from dcap.qpl.qcnl_members import read_members
from dcap.qpl.qcnl_remarks import remark
from dcap.qpl.qcnl_tree import Document, Fault, Places
from dcap.qpl.qcnl_values import (
    DEFAULT_PCCS_URL,
    MAX_HOURS,
    SYSTEM_PATH,
    VARIABLE,
    Format,
    Provenance,
    QcnlConfig,
    Reading,
    Remark,
)

__all__ = [
    "DEFAULT_PCCS_URL",
    "MAX_HOURS",
    "SYSTEM_PATH",
    "VARIABLE",
    "QcnlConfig",
    "Reading",
    "Remark",
    "configured_path",
    "load_qcnl",
    "read_qcnl",
]

#: More than any configuration: Intel's longest sample has 4 KB.
MAX_SIZE: Final = 256 * 1024

INVALID_JSON: Final = 0xE067
UNEXPECTED: Final = 0xE001


def read_qcnl(data: bytes, *, where: str) -> Reading:
    """What a file of these bytes comes to. Raises `ConfigError` (`qcnl-too-large`), nothing else."""
    if len(data) > MAX_SIZE:
        raise ConfigError(
            "qcnl-too-large",
            f"more than {MAX_SIZE} bytes",
            where=where,
            mend="check which file it is: it holds a dozen settings",
        )
    text = data.decode("utf-8", "replace")
    remarks: list[Remark] = []
    if "\ufffd" in text:
        at = text.index("\ufffd")
        remarks.append(remark("qcnl-encoding", Places(text)(at)))
    if "\0" in text:
        remarks.append(remark("qcnl-nul", Places(text)(text.index("\0"))))
    document = parse(text)
    if not looks_like_json(text) and (document.faults or document.root is None):
        return _read_lines(text, where, remarks)
    return _read_json(text, document, where, remarks, starts_with_brace=data[:1] == b"{")


def _read_json(
    text: str, document: Document, where: str, remarks: list[Remark], *, starts_with_brace: bool
) -> Reading:
    places = Places(text)
    remarks += [_fault(fault, places) for fault in document.faults]
    root = document.root
    if root is not None and root.kind != "object":
        remarks.append(remark("qcnl-not-object", places(root.at)))
    settings = read_members(root.members() if root is not None else (), places)
    remarks += settings.remarks
    if root is not None and not root.content and not document.faults:
        remarks.append(remark("qcnl-file-empty"))
    remarks += _legacy_lines(text, document)
    taken: Mapping[str, Any] = settings.taken
    init = 0
    if document.faults:
        init = INVALID_JSON if starts_with_brace else 0
        taken = read_legacy(text).taken
    elif settings.bad_update:
        init = UNEXPECTED
        taken = read_legacy(text).taken
    return _reading(
        where, "json", settings.meant, taken, settings.taken, settings.places, remarks, init
    )


def _read_lines(text: str, where: str, remarks: list[Remark]) -> Reading:
    settings = read_legacy(text)
    if is_blank(text):
        remarks.append(remark("qcnl-file-empty"))
        return _reading(where, "empty", {}, {}, {}, {}, remarks, 0)
    if settings.known:
        remarks.append(remark("qcnl-legacy"))
        remarks += settings.remarks
    else:
        remarks.append(remark("qcnl-not-recognised", (1, 1)))
    return _reading(
        where, "legacy", settings.meant, settings.taken, settings.taken, settings.places, remarks, 0
    )


def _reading(
    where: str,
    shape: Format,
    meant: Mapping[str, Any],
    taken: Mapping[str, Any],
    written: Mapping[str, Any],
    places: Mapping[str, tuple[int, int]],
    remarks: Iterable[Remark],
    init: int,
) -> Reading:
    """Put together; the checks of values are made on what the file says, broken or not."""
    said = QcnlConfig(**{**written, **meant})
    found = [*remarks, *(checks(said, places) if places else ())]
    return Reading(
        where=where,
        format=shape,
        config=mended(QcnlConfig(**meant)),
        intel=capped(QcnlConfig(**taken)),
        init=init,
        remarks=tuple(sorted(found, key=lambda found: (not found.line, found.line, found.column))),
        origins={
            key: Provenance("file", places[key][0]) if key in places else Provenance("default")
            for key in KEYS
        },
    )


def _fault(fault: Fault, places: Places) -> Remark:
    return remark(fault.code, places(fault.at), detail=fault.detail)


def _legacy_lines(text: str, document: Document) -> list[Remark]:
    """Lines of the other format that somebody put into a JSON file (or left there)."""
    if not document.faults:
        return []
    settings: Settings = read_legacy(text)
    return [
        remark("qcnl-key-legacy", settings.places[key], key=key, meant=key)
        for key in settings.taken
    ]


# ── the file ────────────────────────────────────────────────────────────────────────────────────


def configured_path(environ: Mapping[str, str], system: Path = SYSTEM_PATH) -> Path:
    """The file that Intel's library reads: `$QCNL_CONF_PATH`, else the system's, and no other."""
    return Path(environ[VARIABLE]) if VARIABLE in environ else system


def load_qcnl(
    environ: Mapping[str, str], *, path: Path | None = None, system: Path = SYSTEM_PATH
) -> Reading:
    """The configuration of `path`, or of the file that Intel's library would find.

    A file that is missing or unreadable is no error, as with Intel's library: the defaults hold, and
    a remark says so. Raises `ConfigError` (`qcnl-too-large`).
    """
    named = path is not None or VARIABLE in environ
    file = path or configured_path(environ, system)
    try:
        data = _read_file(file)
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        missing = isinstance(error, FileNotFoundError) and not named
        code = "qcnl-file-absent" if missing else "qcnl-file-missing"
        return _reading(str(file), "absent", {}, {}, {}, {}, [remark(code, path=file, why=why)], 0)
    reading = read_qcnl(data, where=str(file))
    return _through_link(reading, data) if file.is_symlink() else reading


def _read_file(path: Path) -> bytes:
    """The bytes of a regular file, at most one more than is allowed: a FIFO would never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no regular file")
        return file.read(MAX_SIZE + 1)


def _through_link(reading: Reading, data: bytes) -> Reading:
    """The same file, but JSON behind a symbolic link, which Intel's library does not follow."""
    if reading.format != "json":
        return reading
    return Reading(
        where=reading.where,
        format=reading.format,
        config=reading.config,
        intel=capped(QcnlConfig(**read_legacy(data.decode("utf-8", "replace")).taken)),
        init=0,
        remarks=(remark("qcnl-symlink"), *reading.remarks),
        origins=reading.origins,
    )
