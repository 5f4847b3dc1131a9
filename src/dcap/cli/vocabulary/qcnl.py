"""Codes of `dcap qcnl write` and of reading sgx_default_qcnl.conf; the words for its remarks.

The remarks of `dcap qcnl lint` have their own table, with what Intel's library does and how to mend it
(`qpl.qcnl_remarks`). Its sentences have places for what stands in a file; here is what stands there
where no file is at hand.

Source: `quote-provider.md` §0, §1.
"""

from collections.abc import Mapping
from typing import Final

from dcap.cli.vocabulary.row import Row, Rows

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
ROWS: Final[Rows] = {
    "qcnl-too-large": Row(1, "The QCNL configuration is larger than any.",
        ("QCNL_CONF_PATH or an argument names another file: a log, a certificate store.",),
        ("`dcap qcnl show` prints which file is read; `ls -l FILE`",)),
    "qcnl-region": Row(1, "--alibaba was not given the id of a region.",
        ("The region's display name, China (Hangzhou), or its whole address was given.",),
        ("give it as in the console: cn-hangzhou, cn-beijing, ap-southeast-1",)),
    "qcnl-address": Row(1, "--pccs was not given an address.",
        ("Host and port were written without https://.",),
        ("give it as https://host:8081/sgx/certification/v4/",)),
    "qcnl-unclean": Row(1,
        "A setting that would be kept or written does not work with Intel's library.",
        ("The present file has an error in a setting that was not given anew.",),
        ("`dcap qcnl lint` names line and mend; or say it anew, with --pccs URL",)),
    "qcnl-nothing-to-migrate": Row(1, "There is no configuration to migrate.",
        ("QCNL_CONF_PATH points nowhere: Intel's library does not fall back to the system's file.",
         "The quote provider's package, which brings the file, was never installed."),
        ("write a new one: dcap qcnl write --intel-pcs, --azure, --alibaba REGION or --pccs URL",)),
    "qcnl-target": Row(1, "The file to write is a symbolic link, or no regular file.",
        ("A mounted ConfigMap is a link, through which libraries since 2026 read nothing.",),
        ("`readlink -f FILE` names the file itself: --output FILE",
         "in Kubernetes: mount it with subPath")),
    "qcnl-ca": Row(1, "The file of --ca is not one certificate in date.",
        ("A bundle of several certificates, or the private key, was given.",
         "The self-signed certificate of the PCCS has expired."),
        ("`openssl x509 -in FILE -noout -subject -enddate` must show the CA's",)),
}

#: Name of a place in the remarks' sentences -> what stands in it where no file is at hand.
PLACES: Final[Mapping[str, str]] = {
    "detail": "it is no JSON there",
    "example": "",
    "first": "N",
    "hint": "write the key that was meant, or take it out",
    "host": "HOST",
    "is_": "of another type",
    "meant": "KEY",
    "name": "NAME",
    "names": "SSL_CERT_FILE, CURL_CA_BUNDLE",
    "path": "FILE",
    "seconds": "N",
    "taken": "N",
    "value": "VALUE",
    "version": "3",
    "wanted": "what the key's type allows",
    "what": "a blank or another unsafe character",
    "why": "no such file, or no permission",
}
#: Where a remark means something of its own by a place: code -> its places.
PLACES_OF: Final[Mapping[str, Mapping[str, str]]] = {
    "qcnl-quotes": {"detail": "a key or a text is not in double quotes"},
    "qcnl-word": {"detail": "a bare word, or True in place of true,"},
    "qcnl-number": {"detail": "a number with a plus, a leading zero or a unit"},
    "qcnl-string": {"detail": "a text is not closed on its line, or has a wrong escape"},
    "qcnl-unclosed": {"detail": "a brace, a bracket or a comment is not closed"},
    "qcnl-syntax": {"detail": "a colon, a key or a value is missing"},
    "qcnl-address": {"detail": "the address is empty, holds a blank, or is no web server's"},
    "qcnl-legacy-word": {"wanted": "FALSE (for USE_SECURE_CERT) or TRUE (for LOCAL_CACHE_ONLY)"},
}
# fmt: on
