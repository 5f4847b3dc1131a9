"""What a plugin's process is asked, and what it answers: frames of MessagePack on two pipes (`frames`).

The process first sends one `Loaded`, then one `Answer` for each `Call`. What it sends is believed no
more than the plugin in it. Not here: who sends (`plugin_child`, `plugin_process`).
"""

from typing import Final, Literal

import msgspec

from dcap.qpl.abi import Kind

#: No list or document is larger; a CRL of 100,000 entries has 4 MiB.
MAX_PIECE: Final = 4 * 1024 * 1024
MAX_LINES: Final = 200
MAX_LINE: Final = 2500


class Line(msgspec.Struct, frozen=True, array_like=True):
    """What a plugin logged: its own number of the level, its own text."""

    level: int
    text: bytes


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """That the library is there. Where `error` is not empty it is not, and that is why."""

    error: str = ""
    kind: Kind = "unknown"
    exports: tuple[str, ...] = ()
    #: The function that logs go through; empty where there is none.
    logger: str = ""
    #: What `sgx_qpl_global_init` returned, where there is one.
    init: int | None = None
    lines: tuple[Line, ...] = ()


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call, by the name of the function, and whatever of this it takes."""

    name: str
    fmspc: bytes = b""
    ca: bytes = b""
    parameter: bytes | None = None
    qe_id: bytes = b""
    cpu_svn: bytes = b""
    pce_svn: int = 0
    pce_id: int = 0
    encrypted_ppid: bytes | None = None
    mask: int = 0
    urls: tuple[bytes, ...] = ()


class Fault(msgspec.Struct, frozen=True, array_like=True):
    """Why 0x0 is no success: a zero pointer or size, an absurd size, a number that is none of its."""

    kind: Literal["null", "large", "version", "tee"]
    member: str
    number: int = 0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a call: the code returned; with 0 the outputs by their names, or a fault."""

    code: int = 0
    missing: bool = False
    fault: Fault | None = None
    outputs: dict[str, bytes] = {}
    numbers: dict[str, int] = {}
    lines: tuple[Line, ...] = ()
