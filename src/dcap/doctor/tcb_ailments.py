"""What can be wrong with a machine's quotes and its TCB, as the documentation tells it. A table alone.

Source: `quote-provider.md` §1.2, §2.7, §6 rows 4, 12; `verification.md` §6.
"""

from typing import Final

from dcap.doctor.finding import Ailment

_UPDATE: Final = (
    "Update the firmware (BIOS) of the machine's maker and the microcode, reboot, and register again: "
    "`dcap register submit`."
)
_POLICY: Final = (
    "Relying parties decide by it; most accept UpToDate alone. `dcap verify` names the advisories."
)

AILMENTS: Final[tuple[Ailment, ...]] = (
    Ailment(
        code="quote-without-certificate",
        severity="error",
        title="Quotes name the machine instead of carrying its certificate",
        symptom=(
            "Quoting “succeeds”; verifying says 0xE01C SGX_QL_QUOTE_CERTIFICATION_DATA_UNSUPPORTED. "
            "0xE067 or 0xE00E may stand in a log."
        ),
        causes=(
            "The configuration is no valid JSON (a double or trailing comma): the plugin is closed.",
            "No plugin was found when the quote was made, or its library lacks something.",
            "The plugin got no certificate from the PCCS.",
        ),
        why=(
            "Without a plugin Intel's quoting falls back to the encrypted PPID and says nothing. Only a "
            "verifier who can ask for the certificate himself can judge such a quote: dcap can, Intel's "
            "verifier cannot; and the PPID identifies the machine to whoever gets the quote."
        ),
        mends=(
            "`dcap provider list` and `dcap qcnl lint` find which of the two it is.",
            "Restart what makes the quotes: `sudo systemctl restart aesmd`, or your program.",
        ),
        rows=(4,),
    ),
    Ailment(
        code="quote-unreadable",
        severity="error",
        title="What this machine gives for a quote is none",
        symptom="0xE01D SGX_QL_QUOTE_FORMAT_UNSUPPORTED.",
        causes=("It was cut off, or is text (hex, base64) where bytes were wanted.",),
        why="Nobody can judge it.",
        mends=("`dcap inspect FILE` says where it ends to be one.",),
        rows=(4,),
    ),
    Ailment(
        code="quote-refused",
        severity="error",
        title="A quote of this machine is refused",
        symptom="0xE02C to 0xE031, 0xE022, 0xE024 and others, at whoever verifies.",
        causes=(
            "The collateral that this machine gets has expired: a PCCS or a cache that is not renewed.",
            "The PCK certificate does not fit the collateral, or is revoked.",
            "The clock is wrong.",
        ),
        why="Whoever asks the same service for collateral refuses it too.",
        mends=("`dcap verify QUOTE` says each check that fails.", "`dcap pccs refresh` renews."),
        rows=(12,),
    ),
    Ailment(
        code="tcb-out-of-date",
        severity="error",
        title="The machine's TCB is out of date",
        symptom="OutOfDate, SGX_QL_QV_RESULT_OUT_OF_DATE (0xA002), 0xE027.",
        causes=(
            "Intel has raised what is up to date, and firmware or microcode were not updated since.",
            "They were updated, and the machine's certificate is still that of the old TCB.",
        ),
        why=_POLICY,
        mends=(_UPDATE,),
        rows=(12,),
    ),
    Ailment(
        code="tcb-configuration",
        severity="warning",
        title="A setting of the machine is not as Intel advises",
        symptom="ConfigurationNeeded, 0xA001, 0xE033.",
        causes=("Hyper-threading is on, or another setting that an advisory names.",),
        why=_POLICY,
        mends=("Change the setting in the BIOS; the advisory names it.",),
    ),
    Ailment(
        code="tcb-hardening",
        severity="warning",
        title="Enclaves need hardening in software",
        symptom="SWHardeningNeeded, 0xA007, 0xE03C.",
        causes=("The processor has a weakness that only the enclave's own code mends (LVI).",),
        why=(
            "The machine is as good as it can be. Whether the enclave was built with mitigations its "
            "author alone knows."
        ),
        mends=("Build with mitigations, raise the ISVSVN, and accept the status for that one.",),
    ),
    Ailment(
        code="td-relaunch",
        severity="warning",
        title="The trust domain was started before the machine was updated",
        symptom="TDRelaunchAdvised, 0xA00A.",
        causes=("The TDX module was updated while the domain ran on.",),
        why="Its own measurements are those of the old one.",
        mends=("End the trust domain and start it again.",),
    ),
    Ailment(
        code="tcb-revoked",
        severity="error",
        title="The machine's TCB is revoked",
        symptom="Revoked, 0xA006, 0xE031, 0xE032.",
        causes=("Firmware of this level is known to be broken: Intel vouches for it no more.",),
        why="No policy can accept it.",
        mends=(_UPDATE,),
    ),
    Ailment(
        code="tcb-unsupported",
        severity="error",
        title="The machine's TCB matches none of Intel's levels",
        symptom="TCB_NOT_SUPPORTED, 0xE066.",
        causes=("The firmware is older than all that Intel lists, or a pre-production one.",),
        why="No policy can accept it.",
        mends=(_UPDATE,),
    ),
    Ailment(
        code="tcb-early",
        severity="warning",
        title="The machine will be out of date",
        symptom="Nothing yet: relying parties that ask for early updates refuse it already.",
        causes=("Intel has announced a recovery (update=early) that this machine has not had.",),
        why="What is early today is standard within a year; from then on the machine is refused.",
        mends=(_UPDATE,),
        rows=(12,),
    ),
)
