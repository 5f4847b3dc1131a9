"""Packages of Intel's platform software: which AESM needs for ECDSA, which are EPID's, which differ.

Intel ships two trains, each in one version: platform software (2.x: AESM, its plugins, the runtime)
and DCAP (1.x: quoting libraries and enclaves). Not here: how they are read (`installed`).

Source: `quote-provider.md` §5.4, §6 rows 11 and 19; the `debian/control` files of Intel's releases.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

#: Without any one of these AESM makes no ECDSA quote.
FOR_ECDSA: Final = (
    "libsgx-aesm-ecdsa-plugin",
    "libsgx-aesm-quote-ex-plugin",
    "libsgx-aesm-pce-plugin",
    "libsgx-ae-qe3",
    "libsgx-ae-pce",
    "libsgx-ae-id-enclave",
    "libsgx-qe3-logic",
    "libsgx-pce-logic",
)
#: EPID attestation, its launch enclave and platform services: all ended, none needed for DCAP.
EPID: Final = (
    "libsgx-aesm-epid-plugin",
    "libsgx-aesm-launch-plugin",
    "libsgx-aesm-pse-plugin",
    "libsgx-ae-epid",
    "libsgx-ae-le",
    "libsgx-ae-pse",
    "libsgx-epid",
    "libsgx-launch",
)
#: Only these are told of: the launch plugin alone, which AESM's package brings along, harms nobody.
_EPID_QUOTING: Final = frozenset(
    {"libsgx-aesm-epid-plugin", "libsgx-ae-epid", "libsgx-epid", "libsgx-aesm-pse-plugin"}
)
_ECDSA_QUOTING: Final = frozenset(
    {"libsgx-aesm-ecdsa-plugin", "libsgx-aesm-quote-ex-plugin", "libsgx-quote-ex", "libsgx-dcap-ql"}
)
#: The enclaves of a train may be of an older release than the rest: their signatures outlive it.
_PLATFORM: Final = re.compile(
    r"sgx-aesm-service|libsgx-(aesm-.+-plugin|enclave-common|urts|uae-service|quote-ex|launch|epid)"
)
_DCAP: Final = re.compile(
    r"tdx-qgs|libsgx-(dcap-(ql|default-qpl|quote-verify)|pce-logic|qe3-logic|tdx-logic)|libtdx-attest"
)
_RELEASE: Final = re.compile(r"(?:\d+:)?(\d+(?:\.\d+)*)")


def missing_for_ecdsa(packages: Iterable[str]) -> list[str]:
    """What AESM lacks to make ECDSA quotes."""
    there = frozenset(packages)
    return [name for name in FOR_ECDSA if name not in there]


def mixed(packages: Iterable[str]) -> list[str]:
    """EPID's packages, where they stand beside those that make ECDSA quotes; else nothing."""
    there = frozenset(packages)
    if not there & _EPID_QUOTING or not there & _ECDSA_QUOTING:
        return []
    return [name for name in EPID if name in there]


def differing(packages: Mapping[str, str]) -> Iterator[dict[str, list[str]]]:
    """Of each train that is there in more than one release: release -> its packages.

    What is to be removed anyhow (`mixed`) is not to be brought to a release.
    """
    leaving = frozenset(mixed(packages))
    for train in (_PLATFORM, _DCAP):
        releases: dict[str, list[str]] = {}
        for name, version in sorted(packages.items()):
            if train.fullmatch(name) and name not in leaving:
                releases.setdefault(_release(version), []).append(name)
        if len(releases) > 1:
            yield releases


def _release(version: str) -> str:
    """The release of a package's version, without epoch and distribution: "2.25.100.3"."""
    found = _RELEASE.match(version)
    return found[1] if found else version
