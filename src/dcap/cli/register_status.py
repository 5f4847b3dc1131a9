"""`dcap register status`: whether this machine's certificate is here, in date, and at its source."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from dcap.cli import arguments, output
from dcap.cli.register_access import (
    certificate_line,
    certificate_value,
    data_options,
    found,
    is_offline,
    now,
    reach_options,
    source,
)
from dcap.cli.register_show import bios_lines
from dcap.errors import CollateralError, ConfigError

if TYPE_CHECKING:
    from dcap.platform_registration.machine_certificate import MachineCertificate
    from dcap.platform_registration.uefi import Variables
    from dcap.sources.need import MachineNeed
    from dcap.verification.anchors import TrustAnchor

#: Collateral unavailable, as the house has it.
NOWHERE = 6
#: What is said of a source where nobody is to be asked.
UNASKED = "not asked"
_MEND = "`dcap register submit`; if that was done with --to URL, give it here as well"


@click.command("status")
@data_options
@reach_options
@click.option("--offline", is_flag=True, help="Look at what is kept alone; ask nobody.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long for the source.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def status(*, offline: bool, timeout: float, as_json: bool, **flags: Any) -> int:
    """Show whether this machine's PCK certificate is kept here, for which TCB, and until when.

    Its source is asked as well, and whether it answers changes nothing where the certificate is kept.
    Exit status: 0 it is kept or can be had; 6 neither; 7 nothing tells which machine this is.
    """
    looked = found(flags)
    data = looked.expected()
    anchor = arguments.anchor(flags["test_root"])
    need = data.need()
    if need is None and data.certificate:
        from dcap.platform_registration.machine_certificate import carried  # noqa: PLC0415

        certificate: MachineCertificate | None = carried(data.certificate, at=now(), anchor=anchor)
        told = "its quotes carry it"
    elif need is None:
        raise ConfigError(
            "registration-no-tcb",
            "what is known of the machine names no QE id with its raw TCB: no certificate can be told",
            mend="run `sudo PCKIDRetrievalTool -f pckid_retrieval.csv` with its enclave (without "
            "-platform_id), and give that file: --csv; or give a quote: --quote",
        )
    else:
        certificate, told = _asked(flags, need, anchor, offline=offline, timeout=timeout)
    value = {
        "certificate": certificate_value(certificate),
        "kept": certificate is not None and certificate.file is not None,
        "source": told,
        "mend": _MEND if certificate is None else "",
    }
    output.emit(value, _lines(certificate, told, looked.variables), as_json=as_json)
    return NOWHERE if certificate is None else 0


def _asked(
    flags: dict[str, Any],
    need: "MachineNeed",
    anchor: "TrustAnchor",
    *,
    offline: bool,
    timeout: float,
) -> "tuple[MachineCertificate | None, str]":
    """The certificate that is kept, else that of the source; and what the source said."""
    held = kept(flags, need, anchor)
    if offline or is_offline():
        return held, UNASKED
    from dcap.platform_registration.machine_certificate import describe, fetch  # noqa: PLC0415

    asked = source(flags, anchor, cache=False, timeout=timeout)
    try:
        given = describe(fetch(asked, need, anchor=anchor, clock=now))
    except CollateralError as error:
        return held, f"{asked.name}: {error.what} [{error.code}]"
    if held is None:
        return given, f"{asked.name}: has it; `dcap register submit` keeps it here"
    same = (given.components, given.pce_svn) == (held.components, held.pce_svn)
    return held, f"{asked.name}: has {'the same' if same else 'one for another TCB'}"


def kept(
    flags: dict[str, Any], need: "MachineNeed", anchor: "TrustAnchor"
) -> "MachineCertificate | None":
    """The certificate that is kept on disk, in date; `None` where none is. Asks nobody."""
    from dcap.platform_registration.machine_certificate import (  # noqa: PLC0415
        describe,
        fetch,
        file_of,
    )
    from dcap.sources.disk import cache_directory  # noqa: PLC0415

    try:
        given = fetch(source(flags, anchor, offline=True), need, anchor=anchor, clock=now)
    except CollateralError:
        return None
    return describe(given, file_of(cache_directory(os.environ), given))


def _lines(
    certificate: "MachineCertificate | None", told: str, variables: "Variables"
) -> Iterator[str]:
    if certificate is None:
        yield f"certificate  none is kept here{'' if told == UNASKED else ', nor to be had now'}"
    else:
        yield certificate_line(certificate)
        if certificate.file is not None:
            yield f"kept         {certificate.file}, since {certificate.fetched_at:%Y-%m-%d %H:%M} UTC"
    yield f"source       {told}"
    if certificate is None:
        yield f"fix          {_MEND}"
    yield from bios_lines(variables)
