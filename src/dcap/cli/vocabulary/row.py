"""The shape of a row, and the few mends that several codes share."""

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias


class Row(NamedTuple):
    """What is told of one error code.

    `causes` are one to three facts of the field, the most frequent first: where to look, not what
    happened. `mends` are what a person can type or look at, in the order in which to try them.
    """

    exit_status: int
    meaning: str
    causes: tuple[str, ...]
    mends: tuple[str, ...]


Rows: TypeAlias = Mapping[str, Row]

COPY: Final = "get the whole file: a copy was probably cut off, or a length altered"
FETCH: Final = "`dcap collateral get QUOTE -o DIR` fetches all of it anew, unchanged"
LOOK: Final = "`dcap inspect FILE` shows what it is"
CURL: Final = "`curl -v URL` shows status, headers and what stands in place of the answer"
PERMISSIONS: Final = "`ls -l PATH` shows whether it is there, and whose it is"
