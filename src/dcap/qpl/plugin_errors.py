"""What can go wrong with a plugin, as our errors; each carries the number Intel's callers would see.

    plugin-load      it cannot be loaded             plugin-symbol    it has no such function
    plugin-died      its process ended in a call     plugin-timeout   it did not return in time
    plugin-code      it returned a code              plugin-null      0x0 (success), and nothing
    plugin-output    what it gave cannot be          plugin-busy      others wait for it already

What a plugin says is quoted without what names a machine.

Source: `quote-provider.md` §0.8-9, §2.7, §3.3.
"""

import re
from typing import Final, TypeVar

from dcap.errors import CollateralError, NotFound, Unavailable
from dcap.qpl.abi import PLATFORM_ERRORS
from dcap.qpl.isolated_process import EndedError
from dcap.qpl.plugin_messages import Fault

E = TypeVar("E", bound=CollateralError)

#: Codes that say: there is none.
ABSENT: Final = frozenset({0xE011, 0xE01B, 0xE037, 0xE047, 0xE049, 0xE061, 0xE062})
#: Codes that say: nobody answered.
SILENT: Final = frozenset({0xE019, *range(0xE040, 0xE045), 0xE065, 0xE067})
_LONGEST: Final = 200
#: Of what our own plugin says, which is a sentence with its mend.
_LONGEST_OURS: Final = 800
_NO_COLLATERAL: Final = 0xE01B
#: How our own plugin begins what it says.
_OURS: Final = "[dcap]"
#: Enough of digits to name a machine: a QE id has 32, an encrypted PPID 768.
_IDENTIFIER: Final = re.compile(r"[0-9A-Fa-f]{16,}")
_QUERY: Final = re.compile(r"\?[^\s\"'<>]*")
_PEM: Final = re.compile(r"-----BEGIN.*?(?:-----END [A-Z ]+-----|\Z)", re.DOTALL)
_TRY: Final = "`dcap provider test {path}` makes each call; `dcap provider list` shows the others"


def redact(text: str) -> str:
    """One line of a plugin's, without certificates, queries and whatever may name a machine."""
    text = _PEM.sub("(certificates)", text)
    text = _IDENTIFIER.sub("…", _QUERY.sub("?…", text))
    return " ".join(text.split())


def numbered(error: E, number: int) -> E:
    """The same error, carrying the `quote3_error_t` that a caller of a plugin would see for it."""
    error.quote3_error = number
    return error


def not_loaded(path: str, why: str) -> Unavailable:
    """The loader refuses it."""
    error = Unavailable(
        "plugin-load",
        f"the plugin cannot be loaded: {_short(why)}",
        where=path,
        mend=f"`ldd {path}` says which library it lacks, `file {path}` for which machine it is; of "
        "those that programs find, `dcap provider list --explain`",
    )
    return numbered(error, 0xE00E)


def no_function(path: str, name: str) -> NotFound:
    """It has no such function."""
    what = f"the plugin does not export {name}"
    if name == "tdx_ql_get_quote_verification_collateral":
        what = f"{what}: it has no collateral for TDX quotes"
    mend = (
        "`dcap provider list` shows who lacks what; another plugin, or `--source bundled`, has it"
    )
    return numbered(NotFound("plugin-symbol", what, where=path, mend=mend), 0xE00E)


def died(path: str, name: str, ended: EndedError, said: str) -> Unavailable:
    """Its process ended in the midst of a call."""
    last = f'; it said "{said}"' if said else ""
    error = Unavailable(
        "plugin-died",
        f"the plugin {ended.how} in {name}{last}",
        where=path,
        mend="a program that had loaded it would have ended with it: `dcap provider test` shows in "
        "which calls; Intel's aborts over collateral above 64 KiB",
    )
    return numbered(error, 0xE040)


def too_slow(path: str, name: str, seconds: float, said: str) -> Unavailable:
    """It did not return."""
    last = f'; it said "{said}"' if said else ""
    error = Unavailable(
        "plugin-timeout",
        f"the plugin did not return from {name} within {seconds:g} s{last}",
        where=path,
        mend="see whether the service answers that its configuration names: plugins have no time "
        "limit of their own; more seconds by --timeout",
    )
    return numbered(error, 0xE042)


def busy(path: str, seconds: float) -> Unavailable:
    """Others have it."""
    error = Unavailable(
        "plugin-busy",
        f"the plugin, which is asked one thing at a time, was not free within {seconds:g} s",
        where=path,
        mend="see whether it answers at all; ask for fewer sets at a time, or keep what it gave",
    )
    return numbered(error, 0xE043)


def garbage(path: str, name: str) -> CollateralError:
    """Its process sent what is no answer of ours."""
    error = CollateralError(
        "plugin-output",
        f"the plugin wrote into the pipe to dcap, so that what {name} gave is lost",
        where=path,
        mend=_TRY.format(path=path),
    )
    return numbered(error, 0xE01A)


def faulty(path: str, name: str, fault: Fault) -> CollateralError:
    """It returned success, and not what success means."""
    if fault.kind == "null":
        error = CollateralError(
            "plugin-null",
            f"the plugin returned 0x0 (success) from {name}, and no {fault.member}",
            where=path,
            mend="its service left out a header (an issuer chain, SGX-TCBm): `curl -v` shows which; "
            "Intel's plugin calls that success",
        )
        return numbered(error, 0xE01A)
    what = {
        "large": f"a size of {fault.number} for {fault.member}",
        "version": f"{fault.member} {fault.number:#x}, which is none of the interface's",
        "tee": f"{fault.member} {fault.number:#x}, which is not the TEE that was asked for",
    }[fault.kind]
    error = CollateralError(
        "plugin-output",
        f"the plugin returned 0x0 (success) from {name} with {what}",
        where=path,
        mend=_TRY.format(path=path),
    )
    return numbered(error, 0xE053 if fault.kind == "version" else 0xE01A)


def refused(path: str, name: str, code: int, said: str = "") -> CollateralError:
    """It returned a code."""
    explained, mend = explain(name, code)
    last = f'; it said "{said}"' if said else ""
    if said.startswith(_OURS):  # which says itself what is to be done
        mend = f"`dcap explain 0x{code:04X}`"
    what = f"{name} returned {explained}{last}"
    if code in ABSENT:
        return numbered(NotFound("plugin-code", what, where=path, mend=mend), code)
    if code in SILENT:
        return numbered(Unavailable("plugin-code", what, where=path, mend=mend), code)
    return numbered(CollateralError("plugin-code", what, where=path, mend=mend), code)


def explain(name: str, code: int) -> tuple[str, str]:
    """A code in words, and the first thing to do about it."""
    if name.startswith(("sgx_ql_get_revocation", "sgx_get_qe_identity")):
        return f"{code} ({PLATFORM_ERRORS.get(code, 'no code of that interface')})", ""
    if code == _NO_COLLATERAL and name == "tee_get_default_platform_policy":
        return (
            f"0x{code:04X} SGX_QL_NO_QUOTE_COLLATERAL_DATA: there is no policy for this FMSPC",
            "put one there where you appraise by Intel's policies; nothing else needs it",
        )
    from dcap.qpl import quote3_errors  # noqa: PLC0415 - only where something failed

    for number, label, meaning, _, remedy, _ in quote3_errors.ROWS:
        if number == code:
            return (
                f"0x{code:04X} {label}: {meaning.rstrip('.')}",
                f"`dcap explain 0x{code:04X}`: {remedy[0]}",
            )
    return f"{code:#x}, which is no code of the interface", "look into the plugin's log"


def short(text: str) -> str:
    """The end of what a plugin said last, redacted."""
    return _short(redact(text))


def _short(text: str) -> str:
    longest = _LONGEST_OURS if text.startswith(_OURS) else _LONGEST
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
