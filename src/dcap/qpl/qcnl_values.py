"""The values of a QCNL configuration, and what is said about a file that holds them.

Not here: how a file is read (`qcnl_config`), what each key is for (`qcnl_keys`).

Source: `quote-provider.md` §1.2, §1.3.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

Format: TypeAlias = Literal["json", "legacy", "absent", "empty"]
#: discarded: Intel's library throws the whole file away. ignored: that key has no effect.
#: differs: it works, but not as the file reads. advice: it does what it says.
Severity: TypeAlias = Literal["discarded", "ignored", "differs", "advice"]

#: Where Intel's library looks: at the file that the variable names, else at the system's.
VARIABLE: Final = "QCNL_CONF_PATH"
SYSTEM_PATH: Final = Path("/etc/sgx_default_qcnl.conf")
DEFAULT_PCCS_URL: Final = "https://localhost:8081/sgx/certification/v4/"
#: Intel's library keeps nothing longer than 90 days.
MAX_HOURS: Final = 2160


class QcnlConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting, with the defaults that are built into Intel's library.

    `collateral_service` is `None` where it is the same as `pccs_url`; `retry_delay` 0 means 1, 2, 4 …
    seconds; the hours are 0 where nothing is kept. `request_headers` and `request_params` are
    `custom_request_options.get_cert`; they may hold secrets, and stay out of its text.
    """

    pccs_url: str = DEFAULT_PCCS_URL
    collateral_service: str | None = None
    use_secure_cert: bool = True
    tcb_update_type: Literal["standard", "early"] = "standard"
    pccs_api_version: str = "3.0"
    retry_times: int = 0
    retry_delay: int = 0
    local_pck_url: str = ""
    pck_cache_expire_hours: float = 0
    verify_collateral_cache_expire_hours: float = 0
    request_headers: tuple[tuple[str, str], ...] = ()
    request_params: tuple[tuple[str, str], ...] = ()
    local_cache_only: bool = False

    @property
    def collateral_url(self) -> str:
        """The base of every request for collateral."""
        return self.pccs_url if self.collateral_service is None else self.collateral_service

    def __repr__(self) -> str:
        return f"<QcnlConfig of {len(self.request_headers)} headers, secure={self.use_secure_cert}>"


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """One thing about a file: what Intel's library does with it (`what`), and how to mend it.

    `line` and `column` count from 1, and are 0 where no place in the file is meant.
    """

    code: str
    severity: Severity
    what: str
    mend: str
    key: str = ""
    line: int = 0
    column: int = 0


class Provenance(msgspec.Struct, frozen=True):
    """Where a value came from: a line of the file, or the library's defaults."""

    kind: Literal["file", "default"]
    line: int = 0

    def __str__(self) -> str:
        return f"line {self.line}" if self.kind == "file" else "default"


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration as it was read.

    `config` is what dcap uses: the file as its author meant it. `intel` is what Intel's library would
    use. `init` is what `sgx_qpl_global_init` would return. `origins` has one entry for each key.
    """

    where: str
    format: Format
    config: QcnlConfig
    intel: QcnlConfig
    init: int
    remarks: tuple[Remark, ...]
    origins: Mapping[str, Provenance]

    @property
    def discarded(self) -> bool:
        """Whether Intel's library throws the whole file away."""
        return any(remark.severity == "discarded" for remark in self.remarks)

    @property
    def obeyed(self) -> bool:
        """Whether Intel's library does what the file says."""
        return all(remark.severity == "advice" for remark in self.remarks)
