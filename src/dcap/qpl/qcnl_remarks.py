"""What can be wrong with a QCNL configuration: code, severity, what Intel's library does, the mend.

Tables alone. `{}` and named fields are filled in where a remark is made (`remark`).

Source: `quote-provider.md` §0, §1.2-1.5, §6.
"""

from typing import Final, TypeAlias

from dcap.errors import printable
from dcap.qpl.qcnl_values import Remark, Severity

Row: TypeAlias = tuple[Severity, str, str]

_DEFAULTS: Final = "Intel's library discards the whole file and asks https://localhost:8081"

# fmt: off
REMARKS: Final[dict[str, Row]] = {
    # the file
    "qcnl-file-missing": ("discarded",
        "{path} cannot be read ({why}): Intel's library says nothing and uses its defaults",
        "correct QCNL_CONF_PATH (there is no fall back to the system's file), or write the file"),
    "qcnl-file-absent": ("advice",
        "there is no {path}: Intel's library uses its defaults, https://localhost:8081",
        "`dcap qcnl write` makes one"),
    "qcnl-file-empty": ("advice",
        "there is nothing in the file: Intel's library uses its defaults, https://localhost:8081",
        "`dcap qcnl write` makes a new one"),
    "qcnl-symlink": ("discarded",
        ("the file is a symbolic link: releases since 2026 do not read JSON through one, say nothing, "
         "and use the defaults"),
        "put the file itself there (in a container: mount it with subPath)"),
    "qcnl-encoding": ("differs",
        "the file is not UTF-8; its bytes go into addresses as they are",
        "save it as UTF-8"),
    "qcnl-nul": ("differs",
        "a NUL byte ends the file for Intel's library; what follows is not read",
        "take it out; save the file as UTF-8 (not UTF-16)"),
    # JSON that rapidjson refuses
    "qcnl-bom": ("discarded",
        f"the file begins with a byte order mark: {_DEFAULTS}, and reports no error",
        "save it as UTF-8 without byte order mark"),
    "qcnl-trailing-comma": ("discarded",
        f"a comma stands before the closing bracket: {_DEFAULTS}", "take the comma out"),
    "qcnl-double-comma": ("discarded",
        f"a comma stands where none belongs: {_DEFAULTS}", "leave one comma between two settings"),
    "qcnl-missing-comma": ("discarded",
        f"no comma stands between two settings: {_DEFAULTS}", "put a comma here"),
    "qcnl-hash-comment": ("discarded",
        f"a comment begins with #: {_DEFAULTS}", "begin comments with //"),
    "qcnl-quotes": ("discarded",
        f"{{detail}}: {_DEFAULTS}", 'write keys and texts in double quotes ("…")'),
    "qcnl-word": ("discarded",
        f"{{detail}} is no JSON: {_DEFAULTS}", "write true, false or null, in small letters"),
    "qcnl-number": ("discarded",
        f"{{detail}} is no number of JSON: {_DEFAULTS}", "write it plainly, like 10 or 0.5"),
    "qcnl-string": ("discarded",
        f"{{detail}}: {_DEFAULTS}", "close the text on its line; write \\\\ for a backslash"),
    "qcnl-unclosed": ("discarded",
        f"{{detail}}: {_DEFAULTS}", "close it; perhaps the file was cut off"),
    "qcnl-braces": ("discarded",
        f"the settings do not stand between {{{{ and }}}}: {_DEFAULTS}", "begin with {{, end with }}"),
    "qcnl-after-end": ("discarded",
        f"something stands behind the end of the object: {_DEFAULTS}", "take it out"),
    "qcnl-depth": ("discarded",
        f"it is nested deeper than any configuration: {_DEFAULTS}", "see the samples"),
    "qcnl-syntax": ("discarded",
        f"{{detail}}: {_DEFAULTS}", "correct the JSON here"),
    "qcnl-not-object": ("discarded",
        "the file holds no object but another value: what Intel's library does is undefined",
        "write the settings between {{ and }}"),
    "qcnl-update-type": ("discarded",
        f"tcb_update_type {{value}} is neither standard nor early: {_DEFAULTS}",
        'write "standard" or "early"'),
    "qcnl-not-recognised": ("discarded",
        "the file is neither JSON nor KEY=value lines: Intel's library uses its defaults",
        "`dcap qcnl write` makes a new one"),
    # keys
    "qcnl-key-unknown": ("ignored",
        "Intel's library knows no key {name}", "{hint}"),
    "qcnl-key-case": ("ignored",
        "keys are case sensitive: Intel's library does not know {name}", 'write it as "{meant}"'),
    "qcnl-key-repeated": ("ignored",
        "the key is there twice; in JSON the first one wins (line {first}), in KEY=value the last",
        "keep one of them"),
    "qcnl-key-legacy": ("differs",
        "the JSON being discarded, Intel's library reads this KEY=value line instead",
        'write it as "{meant}": …'),
    "qcnl-key-json": ("ignored",
        "a line of JSON in a KEY=value file is not read", "write it as {meant}=…"),
    "qcnl-key-not-legacy": ("ignored",
        "the KEY=value format has no {name}", "`dcap qcnl write --migrate` turns the file into JSON"),
    "qcnl-type": ("ignored",
        "the value is {is_}, and Intel's library takes only {wanted}: the default holds",
        "write {wanted}{example}"),
    "qcnl-range": ("ignored",
        "the number does not fit 32 bits: Intel's library uses the default", "write a smaller one"),
    "qcnl-option-unknown": ("ignored",
        "of custom_request_options only get_cert.headers and get_cert.params are read, not {name}",
        "take it out, or put it under get_cert"),
    "qcnl-option-type": ("ignored",
        "{name} is {is_}, and Intel's library takes only {wanted}: it is not sent",
        "write {wanted}{example}"),
    # values
    "qcnl-slash": ("differs",
        ("the address does not end in /: the library appends to it as it is (…v4pckcert), gets 404, "
         "and says 0xE011, as for a machine that is not registered"),
        "end it in /"),
    "qcnl-address": ("differs",
        "{detail}: every request to it fails (0xE019)",
        "write an address like https://host:8081/sgx/certification/v4/"),
    "qcnl-scheme": ("differs",
        "the address begins with neither https:// nor http://: libcurl guesses http",
        "begin it with https://"),
    "qcnl-plain-http": ("advice",
        "the address is http: requests name the machine in clear, and anybody on the way may answer",
        "use https"),
    "qcnl-credentials": ("advice",
        "the address holds a user name or password, which logs may show",
        "keep it out of the address"),
    "qcnl-tdx-path": ("differs",
        "the address of collateral has no /sgx/ in it: TDX collateral fails with 0xE001",
        "let it contain /sgx/, as in https://host:8081/sgx/certification/v4/"),
    "qcnl-old-api": ("differs",
        ("the address is of API {version}, which Intel has retired and which has no TDX; "
         "for TDX and new collateral the requests fail"),
        "write /v4/ (`dcap qcnl write --migrate` does)"),
    "qcnl-pcs-stamp": ("differs",
        ("with Intel's own service and no pccs_api_version \"3.1\", the collateral is stamped 3.0 "
         "(CRLs as hex) and holds DER: programs that trust the stamp fail"),
        'set "pccs_api_version": "3.1"'),
    "qcnl-pcs-mode": ("differs",
        ("the address contains trustedservices.intel.com, so Intel's library takes it for Intel's own "
         "service and fetches the root CRL from Intel, not from here"),
        "use an address without that name, or Intel's own"),
    "qcnl-pcs-pck": ("differs",
        ("Intel's service gives PCK certificates only with a subscription key, which is not sent "
         "unasked: quoting fails with 0xE044 (collateral works)"),
        ("to verify only, set collateral_service instead (`dcap qcnl write --intel-pcs`); to quote, "
         "use a PCCS")),
    "qcnl-api-version": ("differs",
        'pccs_api_version {value} is neither "3.0" nor "3.1": all collateral fails with 0xE001',
        'write "3.1"; it has nothing to do with /v4/ in addresses'),
    "qcnl-hex-crl": ("advice",
        'with pccs_api_version "3.0" (the default) CRLs come as hex, which some verifiers refuse',
        'set "pccs_api_version": "3.1", if the PCCS is not older than 2021'),
    "qcnl-retry-forever": ("differs",
        "a negative number becomes 4294967295: a server that is away hangs the program for ever",
        "write 6"),
    "qcnl-delay-forever": ("differs",
        "a negative number becomes 4294967295 seconds: the first retry waits for 136 years",
        "write 10, or 0 for 1, 2, 4 … seconds"),
    "qcnl-retry-long": ("advice",
        "a server that is away blocks each request for about {seconds} s before it fails",
        "lower retry_times or retry_delay"),
    "qcnl-retry-idle": ("advice",
        "retry_delay has no effect while retry_times is 0", "set retry_times"),
    "qcnl-hours-cap": ("differs",
        "Intel's library keeps nothing longer than 2160 hours", "write 2160 or less"),
    "qcnl-hours-negative": ("differs",
        "with a negative number nothing stays in the cache", "write 0 to switch it off"),
    "qcnl-tls-off": ("advice",
        ("the certificate of no https server is checked, of Intel's neither: whoever is on the way can "
         "read the requests and replace the answers (not the collateral that Intel has signed)"),
        ("set use_secure_cert to true, and put the server's CA into the system's store with "
         "update-ca-certificates")),
    "qcnl-cache-only": ("advice",
        ("PCK certificates come only from cache files that were made beforehand; pccs_url and "
         "local_pck_url are not asked for them (collateral still comes from the network)"),
        "set local_cache_only to false, unless that is meant"),
    "qcnl-option-unsafe": ("differs",
        "{name} holds {what}, which is sent as it is: libcurl refuses the address, or it means another",
        "write it percent-encoded"),
    "qcnl-header-unsafe": ("differs",
        "the header {name} holds what no header may",
        "write it on one line, without control characters"),
    # the KEY=value format
    "qcnl-legacy": ("advice",
        "the file is in the KEY=value format of before 2022: no tcb_update_type, no request options",
        "`dcap qcnl write --migrate` turns it into JSON"),
    "qcnl-legacy-comment": ("differs",
        "a comment behind a value becomes part of the value: all space is taken out, # means nothing",
        "put the comment on a line of its own"),
    "qcnl-legacy-quotes": ("differs",
        "the quotes become part of the value", "write the value without quotes"),
    "qcnl-legacy-no-value": ("differs",
        "there is no =: the value becomes {name} itself", "write {name}=value, or take the line out"),
    "qcnl-legacy-word": ("ignored",
        "only {wanted} has an effect here; {value} has none", "write {wanted}"),
    "qcnl-legacy-sticky": ("differs",
        "an earlier line (line {first}) said otherwise, and cannot be taken back by this one",
        "keep one of them"),
    "qcnl-legacy-number": ("ignored",
        "the value does not begin with a number: the default holds", "write a number"),
    "qcnl-legacy-number-tail": ("differs",
        "only the number {taken} at its beginning is read", "write a whole number alone"),
    "qcnl-legacy-overflow": ("discarded",
        ("the number does not fit 32 bits: releases of before 2026 end the whole program with it "
         "(uncaught exception), later ones use the default"),
        "write a smaller one"),
    # the environment
    "qcnl-proxy-upper": ("differs",
        "HTTP_PROXY in capitals is not read by libcurl for http:// addresses", "set http_proxy too"),
    "qcnl-ca-variable": ("differs",
        "of CAs, Intel's library reads the system's bundle alone, not {names}",
        "add the CA with update-ca-certificates"),
    "qcnl-proxy-local": ("advice",
        "requests to {host} go through the proxy of {name}", "add {host} to no_proxy"),
}
# fmt: on

_SHOWN: Final = 60
#: Of keys that nobody knows, so many are named: a file of nothing else is another file.
MOST_UNKNOWN: Final = 50


def shown(value: object) -> str:
    """A piece of a file, short enough for a sentence and safe for a terminal."""
    text = printable(str(value))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def remark(
    code: str, place: tuple[int, int] = (0, 0), *, key: str = "", **fields: object
) -> Remark:
    """The remark of a row, its fields filled in."""
    severity, what, mend = REMARKS[code]
    filled = {name: shown(value) for name, value in fields.items()}
    return Remark(
        code=code,
        severity=severity,
        what=what.format(**filled),
        mend=mend.format(**filled),
        key=shown(key),
        line=place[0],
        column=place[1],
    )
