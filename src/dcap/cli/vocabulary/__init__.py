"""Every code of ours, for `dcap explain`: what it means, where it comes from, how it is mended.

A row is one error code (`DcapError.code`), in the file of its family; nothing here looks up or prints.
Not here: TCB statuses and exit statuses (`cli.glossary`); findings, which `verification.checks`
explains and `cli.causes` gives causes for; remarks of `dcap qcnl lint` (`qpl.qcnl_remarks`); causes of
a PCCS's refusals (`pccs.causes`); the codes of Intel's and Open Enclave's software (`qpl.error_codes`).

Sources: `quote-provider.md` §0, §6; `pccs-and-pcs-api.md` §1.9, §2, §6; `users-and-interop.md` §1.
"""

from collections.abc import Mapping
from typing import Final

from dcap.cli.vocabulary import (
    attester,
    collateral,
    commands,
    doctor,
    documents,
    evidence,
    network,
    pccs,
    pcs,
    placing,
    policy,
    provider,
    qcnl,
    registration,
    service,
    simulator,
    sources,
    transfer,
)
from dcap.cli.vocabulary.row import Row, Rows

#: Family, as a heading has it -> its rows.
FAMILIES: Final[Mapping[str, Rows]] = {
    "The evidence": evidence.ROWS,
    "Certificates, lists and documents": documents.ROWS,
    "Collateral": collateral.ROWS,
    "The policy": policy.ROWS,
    "The command line": commands.ROWS,
    "Sources and their cache": sources.ROWS,
    "The network": network.ROWS,
    "Intel's PCS, Azure's caches, registration": pcs.ROWS,
    "A PCCS that is asked": pccs.ROWS,
    "The PCCS that dcap is": service.ROWS,
    "To and from a PCCS": transfer.ROWS,
    "The configuration of Intel's quote provider": qcnl.ROWS,
    "The process behind the plugin": provider.ROWS,
    "Placing the plugin": placing.ROWS,
    "This machine's attesters": attester.ROWS,
    "Registering a machine": registration.ROWS,
    "The doctor and containers": doctor.ROWS,
    "The simulator": simulator.ROWS,
}
ERROR_CODES: Final[Mapping[str, Row]] = {
    code: row for rows in FAMILIES.values() for code, row in rows.items()
}
