"""Telling who a machine is: to a PCCS (`POST /platforms`), or to Intel's registration service.

    PccsRegistrar(url, connect, token=…).register(record)
    IntelRegistrar(connect, url=…).register(manifest)

Registering again what is registered changes nothing at either. Tokens, manifests and the PPID that Intel
answers with stand in no error. What is refused is raised as an error that says how to mend it:
`ConfigError` for a token, `CollateralError` for all else; `is_final` tells whether waiting could help.

Not here: certificates (`machine_certificate`), what a service answers (`api`).

Source: `pccs-and-pcs-api.md` §1.4, §1.9, §2.3, §5.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Final, Protocol

import msgspec

from dcap.api.http import HttpResponse
from dcap.api.pccs_admin import PlatformRecord, RegistrationRequest, UpdateKind
from dcap.api.pccs_responses import CAUSE, WHY, PccsRefusal
from dcap.api.pcs_responses import Refusal
from dcap.api.registration import ERRORS, PLATFORM, RegisterRequest, RegisterResponse
from dcap.errors import CollateralError, ConfigError, DcapError, NotFound, printable
from dcap.sources.endpoint import Connect, Endpoint, origin_of

INTEL_URL: Final = "https://api.trustedservices.intel.com"
_BASE: Final = re.compile(r"(.*)/sgx/certification/v([34])(?:/platforms)?/?", re.IGNORECASE)
_LONGEST_WHY: Final = 200
#: Of what was sent, that which is looked for in an answer: a PCE id is no secret.
_SHORTEST: Final = 6
#: Intel's Error-Code -> what whoever registers does about it.
_MENDS: Final[Mapping[str, str]] = {
    "InvalidRegistrationServer": "see the server that `dcap register show` names, and give it: "
    "--to intel:URL",
    "InvalidOrRevokedPackage": "ask the machine's vendor: one of its CPUs must be replaced",
    "PackageNotFound": "a pre-production CPU is known to Intel's sandbox alone; else ask the vendor",
    "IncompatiblePackage": "ask the machine's vendor: its CPUs do not belong together",
    "InvalidPlatformManifest": "reboot, so that the BIOS shows the manifest of now; else choose 'SGX "
    "Factory Reset' in the BIOS, which makes a new one",
    "CachedKeysPolicyViolation": "register it at a PCCS (--to URL), for its BIOS lets Intel keep no "
    "keys; or turn on 'SGX Auto MP Registration' in the BIOS",
}
#: Errors of a kind that another attempt may not meet, which no waiting mends all the same.
_FINAL: Final = frozenset(
    {"registration-refused", "registration-refused-by-intel", "offline", "source-no-pck"}
)


class Explanation(Protocol):
    """What a cause that our PCCS names means, and its mend (`pccs.causes`)."""

    @property
    def what(self) -> str:
        """In words."""

    @property
    def mend(self) -> str:
        """What to do."""


class PccsRegistrar:
    """One PCCS. `url` is its origin, its base, or its resource `/platforms`.

    `causes` explains the words of a PCCS of ours. Raises `ConfigError` (`source-url`).
    """

    def __init__(
        self,
        url: str,
        connect: Connect,
        *,
        token: str | None = None,
        causes: Mapping[str, Explanation] = {},
    ) -> None:
        origin = origin_of(url)
        path = url[len(origin) :].partition("?")[0].rstrip("/")
        match = _BASE.fullmatch(path or "/sgx/certification/v4")
        if match is None:
            raise ConfigError(
                "source-url",
                "its path is not that of a PCCS",
                where=origin + path,
                mend="give scheme, host and port: https://host:8081",
            )
        self._prefix, self.version = match[1], int(match[2])
        self.base = f"{origin}{self._prefix}/sgx/certification/v{self.version}/"
        self._endpoint = Endpoint(origin, connect)
        self._token = token
        self._causes = causes

    def __repr__(self) -> str:
        return f"<PccsRegistrar {self.base}>"

    def register(self, record: PlatformRecord, update: UpdateKind = "standard") -> None:
        """Tell it. Raises `ConfigError` (`registration-token`), `CollateralError`."""
        asked = RegistrationRequest(
            version=self.version, token=self._token, platform=record, update=update
        )
        sent = [self._token or "", *(value or "" for value in msgspec.structs.astuple(record))]
        self._endpoint.ask(asked.to_http(self._prefix), partial(self._accept, sent))

    def _accept(self, sent: list[str], answer: HttpResponse) -> None:
        if answer.status != 200:
            raise self._refusal(answer, sent)

    def _refusal(self, answer: HttpResponse, sent: list[str]) -> DcapError:
        where = f"{self.base}platforms"
        cause = answer.header(CAUSE) or ""
        known = self._causes.get(cause)
        why = printable(_without(answer.header(WHY) or "", sent))[:_LONGEST_WHY]
        if answer.status == 401:
            what = (
                "the PCCS wants a user token"
                if self._token is None
                else "the PCCS refuses the token"
            )
            return ConfigError(
                "registration-token",
                what,
                where=where,
                mend="give the user token: --token-file FILE or $DCAP_USER_TOKEN; on the PCCS's "
                "host `dcap pccs token new NAME` makes one (Intel's PCCS: its installer asked for it)",
            )
        if answer.status == 400:
            said = f": {why}" if why else ""
            return NotFound(
                "registration-refused",
                f"the PCCS cannot use the platform data (HTTP 400{said})",
                where=where,
                mend="read them anew: `sudo PCKIDRetrievalTool -f pckid_retrieval.csv`, then --csv",
            )
        refusal = PccsRefusal.from_http(answer)
        error = refusal.error()
        error.where = where
        if known is not None:
            error.what, error.mend = f"{error.what} ({known.what})", known.mend
        elif answer.status == 404 and refusal.is_said:
            error.mend = (
                "see the PCCS's log for what Intel said: a machine of several packages must send its "
                "manifest, or be registered with Intel before (--to intel); a key may be wrong"
            )
        return error


def _without(said: str, sent: list[str]) -> str:
    """What a server says, less what it was told: it may repeat the token, or who the machine is."""
    secrets = sorted((one for one in sent if len(one) >= _SHORTEST), key=len, reverse=True)
    if not secrets:
        return said
    return re.sub("|".join(map(re.escape, secrets)), "…", said, flags=re.IGNORECASE)


class IntelRegistrar:
    """Intel's registration service, or another of its kind."""

    def __init__(self, connect: Connect, url: str = INTEL_URL) -> None:
        self.base = origin_of(url)
        self._endpoint = Endpoint(self.base, connect)

    def __repr__(self) -> str:
        return f"<IntelRegistrar {self.base}>"

    def register(self, manifest: bytes) -> None:
        """Tell it: it keeps the machine's keys. Raises `CollateralError`."""
        self._endpoint.ask(RegisterRequest(manifest=manifest).to_http(), self._accept)

    def _accept(self, answer: HttpResponse) -> None:
        if answer.status == 201:
            RegisterResponse.from_http(answer)  # read, so that no other server's 201 passes
            return
        refusal = Refusal.from_http(answer)
        code = printable(refusal.error_code or "")[:_LONGEST_WHY]
        if answer.status != 400:
            raise refusal.error()
        raise NotFound(
            "registration-refused-by-intel",
            "the registration service refuses the machine"
            + (
                f": {ERRORS.get(code, 'for a reason that dcap does not know')} ({code})"
                if code
                else ""
            ),
            where=self.base + PLATFORM,
            mend=_MENDS.get(
                code, "reboot, read the manifest anew, and try again; else ask the vendor"
            ),
        )


def is_final(error: DcapError) -> bool:
    """Whether waiting cannot help: what a person must mend first."""
    return error.code in _FINAL or not isinstance(error, CollateralError)
