"""What the process with Intel's quoting library is asked, and what it answers (`qpl.frames`).

It first sends one `Loaded`, then one `Outcome` for each `Step`. Not here: who sends (`dcap_ql`,
`dcap_ql_process`).

Source: `quote-provider.md` §5.5; Intel's `sgx_dcap_ql_wrapper.h`.
"""

from typing import Final, Literal, TypeAlias

import msgspec

Part: TypeAlias = Literal["qe3", "pce", "qpl", "ide"]
#: `sgx_ql_path_type_t`: what `sgx_ql_set_path` can be told the place of.
PARTS: Final[dict[Part, int]] = {"qe3": 0, "pce": 1, "qpl": 2, "ide": 3}
#: A quote with its chain has 5 KiB.
MOST_QUOTE: Final = 64 * 1024


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """That the library is there. Where `error` is not empty it is not, and that is why."""

    error: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step: tell the place of a part; ask whom the report is for; ask for the quote over it."""

    kind: Literal["path", "target-info", "quote"]
    part: Part = "qpl"
    path: bytes = b""
    report: bytes = b""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a step: the function that was called last, and what it returned.

    Where `missing`, the library does not export it. `size` is set where it is none that a quote has.
    """

    function: str
    code: int = 0
    missing: bool = False
    size: int | None = None
    content: bytes = b""
