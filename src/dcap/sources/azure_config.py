"""How Azure's DCAP client is configured: by environment variables alone, which are read here.

`VARIABLES` is the whole table, also of those that a source has no use for (logging, cache). Not here:
the requests (`thim`).

Source: `quote-provider.md` §4.1.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from dcap.api.thim import CLIENT_ID

_ACC_CACHE = "https://global.acccache.azure.net/sgx/certification"
_HOST_AGENT = "http://169.254.169.254/metadata/THIM/sgx/certification"
_REGIONAL = ".thim.azure.net/sgx/certification"
_VERSION = "v4"
_VERSIONS = ("v2", "v3", "v4")


class Variable(NamedTuple):
    """One environment variable: its name, what holds without it, what it does."""

    name: str
    default: str
    effect: str


VARIABLES: tuple[Variable, ...] = (
    Variable("AZDCAP_BASE_CERT_URL", _ACC_CACHE, "base of SGX collateral, without version"),
    Variable(
        "AZDCAP_BASE_CERT_URL_TDX",
        _REGIONAL,
        "what is appended to https://<region> to make the base of TDX collateral",
    ),
    Variable(
        "AZDCAP_REGION_URL",
        "",
        "the region in front of it; without it the VM's metadata service is asked",
    ),
    Variable("AZDCAP_PRIMARY_BASE_CERT_URL", _HOST_AGENT, "PCK certificates, first choice"),
    Variable("AZDCAP_SECONDARY_BASE_CERT_URL", _ACC_CACHE, "PCK certificates, second choice"),
    Variable("AZDCAP_BYPASS_BASE_URL", "false", "anything but false skips the first choice"),
    Variable("AZDCAP_CLIENT_ID", CLIENT_ID, "sent as clientid"),
    Variable("AZDCAP_COLLATERAL_VERSION", _VERSION, "v2, v3 or v4 of the SGX URLs; else v4"),
    Variable("AZDCAP_COLLATERAL_VERSION_TDX", _VERSION, "of the TDX URLs: v4, whatever it says"),
    Variable(
        "AZDCAP_DEBUG_LOG_LEVEL",
        "",
        "ERROR, WARNING or INFO to standard output; any other text silences, none complains once",
    ),
    Variable("AZDCAP_DISABLE_ONDEMAND", "", "1 leaves the encrypted PPID out of requests"),
    Variable("AZDCAP_CACHE", "", "directory above Azure's (and Intel's) cache"),
    Variable(
        "AZDCAP_CACHE_EXPIRY_IN_SECONDS",
        "",
        "1 to 86400: nothing is kept longer than that, nor than the server says",
    ),
    Variable("AZDCAP_WRITE_LOGS_TO_FILE", "", "TRUE appends everything to /tmp/dcapLog.txt"),
)


class AzureConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What of it concerns requests. `region` is `None` where the metadata service has to be asked."""

    base: str = _ACC_CACHE
    regional: str = _REGIONAL
    region: str | None = None
    primary: str = _HOST_AGENT
    secondary: str = _ACC_CACHE
    bypass_primary: bool = False
    client_id: str = CLIENT_ID
    version: str = _VERSION
    version_tdx: str = _VERSION
    without_ppid: bool = False

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "AzureConfig":
        """As Azure's client reads it: an empty variable is one that is not set."""
        set_ = {row.name: environ.get(row.name) or row.default for row in VARIABLES}
        version = set_["AZDCAP_COLLATERAL_VERSION"]
        return cls(
            base=set_["AZDCAP_BASE_CERT_URL"].rstrip("/"),
            regional=set_["AZDCAP_BASE_CERT_URL_TDX"].rstrip("/"),
            region=set_["AZDCAP_REGION_URL"] or None,
            primary=set_["AZDCAP_PRIMARY_BASE_CERT_URL"].rstrip("/"),
            secondary=set_["AZDCAP_SECONDARY_BASE_CERT_URL"].rstrip("/"),
            bypass_primary=set_["AZDCAP_BYPASS_BASE_URL"].lower() != "false",
            client_id=set_["AZDCAP_CLIENT_ID"],
            version=version if version in _VERSIONS else _VERSION,
            without_ppid=set_["AZDCAP_DISABLE_ONDEMAND"] == "1",
        )
