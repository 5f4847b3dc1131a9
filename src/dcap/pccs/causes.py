"""Why something is not served: a stable word for each cause, beside the few statuses that Intel has.

Intel's PCCS says 404 "No cache data for this platform." for a wrong key, a throttled upstream and a
machine that nobody registered alike. The status stays, for clients know it; the header `Dcap-Cause`
has the word. A word never changes its meaning.

Source: `pccs-and-pcs-api.md` §1.9, §6 (the complaint that comes first), §7 (e).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from dcap.errors import CollateralError, DcapError, FormatError, NotFound, VerificationError


class Cause(NamedTuple):
    """The status that it is answered with; for people, what it means and how to mend it."""

    status: int
    what: str
    mend: str


CAUSES: Final[Mapping[str, Cause]] = {
    # The request
    "bad-request": Cause(400, "a parameter or the body is malformed", "see the API's description"),
    "no-ppid": Cause(
        400,
        "the machine is unknown, and the request has no encrypted PPID to look it up by",
        "send encrypted_ppid, or register the machine",
    ),
    "bad-token": Cause(401, "the token is missing or wrong", "give the user or admin token"),
    "too-large": Cause(413, "the body is larger than allowed", "split it, or raise the limit"),
    # What is kept, and the mode
    "not-cached": Cause(
        404,
        "nothing is kept, and the service's mode does not fetch it for who asks",
        "register the platform, import the collateral, or refresh",
    ),
    "unknown-platform": Cause(
        461, "the platform was never registered here", "register it with POST /platforms"
    ),
    "certificates-unavailable": Cause(
        462,
        "Intel has the platform, but no certificate yet for its TCB",
        "ask Intel; the TCBs stand in GET /platforms?source=reg_na",
    ),
    "no-certificate-for-tcb": Cause(
        404,
        "the platform's TCB reaches none of its certificates",
        "refresh its certificates, or update its microcode",
    ),
    "revoked": Cause(
        404,
        "Intel has revoked every certificate of the platform",
        "update its firmware and microcode, then refresh its certificates; if they stay revoked, ask "
        "Intel",
    ),
    "no-tcb-info": Cause(
        404, "there is no SGX TCB info to select a certificate with", "refresh, or import it"
    ),
    "no-policy": Cause(404, "no policy is the default of this FMSPC", "put one, is_default: true"),
    "expired": Cause(
        404,
        "what is kept has expired, and nothing newer could be had",
        "see the upstream's state; where there is none, import fresh collateral",
    ),
    "v3-ended": Cause(410, "Intel no longer serves version 3 of the API", "use /v4/ in the URL"),
    "offline": Cause(503, "the service's mode is OFFLINE: it fetches nothing", "import instead"),
    "refresh-failed": Cause(
        503, "some of what is kept could not be renewed", "see the service's log or its console"
    ),
    # What upstream says
    "unregistered": Cause(
        404,
        "Intel does not know the platform",
        "a machine of several packages must first be registered with Intel, or send its manifest "
        "(PCKIDRetrievalTool, mpa_registration); a pre-production part is not known at all",
    ),
    "other-machine": Cause(
        404,
        "certificates of another machine are kept under this QE id, and stay",
        "see which of the two the QE id is of; where it is the new one: `dcap pccs forget`",
    ),
    "manifest-needs-pcs": Cause(
        404,
        "a machine is looked up by its manifest at Intel alone, and the upstream is another cache",
        "name Intel's PCS with --upstream, or register the machine at the upstream first",
    ),
    "zero-ppid": Cause(
        404,
        "the encrypted PPID is all zeros: the machine could not read its own",
        "register by manifest, or give the PCE access to /dev/sgx_provision",
    ),
    "zero-qe-id": Cause(
        404,
        "the QE id is all zeros: the machine could not read its own",
        "give the quoting enclave access to /dev/sgx_enclave and /dev/sgx_provision, then send the id "
        "that it gives",
    ),
    "no-such-item": Cause(404, "upstream has no such collateral", "check FMSPC or number"),
    "retired": Cause(404, "Intel has retired this TCB evaluation data number", "ask for a newer"),
    "wrong-key": Cause(
        404, "upstream refuses the subscription key", "give the service the right API key"
    ),
    "throttled": Cause(404, "upstream asks us to wait", "wait as long as Retry-After says"),
    "upstream-refused": Cause(
        404, "upstream finds the request malformed", "check manifest and encrypted PPID"
    ),
    "upstream-error": Cause(404, "upstream has an error of its own", "try again later"),
    "upstream-unreachable": Cause(
        502, "upstream cannot be reached", "check network, proxy and TLS of the service's host"
    ),
    "upstream-slow": Cause(
        502, "upstream has not answered yet", "ask again: it is still being waited for"
    ),
    "no-upstream": Cause(502, "the service has no upstream", "name one with --upstream"),
    "forged": Cause(
        460,
        "what was given is not what Intel signed: nothing of it was kept",
        "look at who stands between the service and Intel",
    ),
    "clock": Cause(
        404,
        "what was given, or is kept, begins to hold minutes from now, or later",
        "check the clock of the service's host, and then that of the upstream",
    ),
    "rolled-back": Cause(
        404,
        "upstream gave something older than what was kept before: it was refused",
        "see which upstream is behind, Azure's is on purpose; where what is kept is wrong, forget it: "
        "`dcap pccs forget`",
    ),
    # The service itself
    "busy": Cause(503, "too many requests wait for upstream", "ask again"),
    "queue-full": Cause(
        503,
        "too many machines wait in the queue",
        "read it: `dcap pccs get`, fetch for them, and `dcap pccs put`",
    ),
    "store-unavailable": Cause(503, "the database does not answer", "see the service's log"),
    "internal": Cause(500, "an error of the service's own", "see the service's log"),
}
#: Where nothing newer can be expected soon: remembered for longer than a passing failure.
LASTING: Final = frozenset(
    {"no-such-item", "retired", "unregistered", "certificates-unavailable", "revoked"}
)

#: Code of an error from a source -> cause. What stands here for a code of `pcs-…` does for `pccs-…`.
_BY_CODE: Final[Mapping[str, str]] = {
    "400": "upstream-refused",
    "401": "wrong-key",
    "403": "wrong-key",
    "404": "no-such-item",
    "410": "retired",
    "429": "throttled",
    "461": "unregistered",
    "462": "certificates-unavailable",
    "502": "upstream-unreachable",
    "pcs-status": "upstream-error",
    "pccs-status": "upstream-error",
    "pcs-route": "no-such-item",
    "pccs-route": "no-such-item",
    "upstream-throttled": "throttled",
    "upstream-resting": "upstream-unreachable",
    "source-no-pck": "no-ppid",
    "source-evaluation-number": "no-such-item",
    "source-version": "no-such-item",
    "source-no-identity": "no-such-item",
    "source-no-early": "no-such-item",
    "pccs-forged": "forged",
    "pccs-clock": "clock",
    "pccs-revoked": "revoked",
}


class NotServed(CollateralError):  # noqa: N818 - what it says
    """There is an answer, and it is a refusal: its status, and its cause.

    `code` is `pccs-` and the cause. `retry_after` is in seconds, where it is known.
    """

    def __init__(
        self,
        cause: str,
        *,
        status: int | None = None,
        what: str = "",
        where: str = "",
        retry_after: float | None = None,
    ) -> None:
        known = CAUSES[cause]
        said = f"{known.what}: {what}" if what else known.what
        super().__init__(f"pccs-{cause}", said, where=where, mend=known.mend)
        if cause in (
            "forged",
            "clock",
            "revoked",
        ):  # of that code elsewhere too: something was proven
            self.exit_status = VerificationError.exit_status  # type: ignore[misc]
        self.cause = cause
        self.status = known.status if status is None else status
        self.retry_after = retry_after


def cause_of(error: DcapError, *, of_machine: bool = False) -> str:
    """The cause behind an error of a source, a proof or the store."""
    if isinstance(error, NotServed):
        return error.cause
    code = error.code
    cause = _BY_CODE.get(code)
    if cause is None and code.startswith(("pcs-", "pccs-")):
        cause = _BY_CODE.get(code.partition("-")[2])
    if cause is None:
        if code.startswith("store-"):
            cause = "store-unavailable"
        elif code.startswith("network-"):
            cause = "upstream-unreachable"
        elif isinstance(error, FormatError):
            cause = "bad-request"
        elif isinstance(error, NotFound):
            cause = "no-such-item"
        else:
            cause = "upstream-error"
    return "unregistered" if of_machine and cause == "no-such-item" else cause


def not_served(
    error: DcapError, *, of_machine: bool = False, retry_after: float | None = None
) -> NotServed:
    """An error as a refusal, in the words of its cause: those of others may name machines."""
    if isinstance(error, NotServed):
        return error
    cause = cause_of(error, of_machine=of_machine)
    what = error.what if isinstance(error, CollateralError) and not of_machine else ""
    return NotServed(cause, what=what, where=error.where, retry_after=retry_after)
