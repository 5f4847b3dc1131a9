"""What can be wrong with the configuration of Intel's provider: the ailments of `configuration`."""

from typing import Final

from dcap.doctor.finding import Ailment

_LINT: Final = "`dcap qcnl lint` names each place; `sudo dcap qcnl write --migrate` writes it anew"
_RESTART: Final = "`sudo systemctl restart aesmd qgsd` afterwards: each process reads it once"

AILMENTS: Final = (
    Ailment(
        code="configuration-discarded",
        severity="error",
        title="Intel's library throws its whole configuration away",
        symptom=(
            "0xE067 at initialization, or no error at all; 0xE019 with an empty PCCS log, for "
            "https://localhost:8081 is asked; quotes that verifiers refuse with 0xE01C"
        ),
        causes=(
            "a comma too many or too few in the JSON",
            "a comment that begins with #, or KEY=value lines of before 2022 among the JSON",
            'a tcb_update_type other than "standard" and "early"',
            "a byte order mark, or text behind the last }",
        ),
        why=(
            "One syntax error makes the library take its built-in defaults: https://localhost:8081, "
            "with certificates checked, no retries and no cache. It says so only where the first byte "
            "of the file is {. SGX quotes are still made, but with the encrypted PPID in the place of "
            "a PCK certificate; TDX quotes fail."
        ),
        mends=(_LINT, _RESTART),
        rows=(2, 4, 14),
    ),
    Ailment(
        code="configuration-unread",
        severity="error",
        title="The configuration cannot be read by the process that needs it",
        symptom="0xE019, 0xE011 or 0xE065, as if nothing had been configured; no message",
        causes=(
            "QCNL_CONF_PATH names a file that is not there: there is no falling back to /etc",
            "docker made a folder of it, for the file to mount was not there on the host",
            "the file's mode keeps the daemon's account out, or its unit hides the folder (/home)",
        ),
        why="A file that cannot be read is no error to the library: it asks https://localhost:8081.",
        mends=(
            "correct QCNL_CONF_PATH, or `sudo chmod a+r FILE`",
            "keep the file in /etc, where every unit sees it",
            _RESTART,
        ),
        rows=(2, 14),
    ),
    Ailment(
        code="configuration-absent",
        severity="warning",
        title="Intel's library is installed and not configured",
        symptom="0xE019 while a quote is made or verified, unless a PCCS runs on this very machine",
        causes=("/etc/sgx_default_qcnl.conf was never written, or was lost in an upgrade",),
        why="Without a file the library asks https://localhost:8081/sgx/certification/v4/.",
        mends=(
            "`sudo dcap qcnl write --pccs https://HOST:8081/`: an own PCCS",
            "`sudo dcap qcnl write --azure`, `--alibaba REGION`: in those clouds",
            "`sudo dcap qcnl write --intel-pcs`: to verify only",
        ),
        rows=(2,),
    ),
    Ailment(
        code="configuration-symlink",
        severity="warning",
        title="The configuration is a symbolic link",
        symptom="0xE019 after an upgrade of Intel's packages, with a file that looks right",
        causes=(
            "Kubernetes mounts ConfigMaps and Secrets as links",
            "configuration management links files in place",
        ),
        why=(
            "Releases of Intel's library since 2026 open the file without following links "
            "(O_NOFOLLOW), say nothing, and use their defaults."
        ),
        mends=(
            "put the file itself there: `sudo cp --remove-destination TARGET FILE`",
            "in Kubernetes mount it with `subPath`",
        ),
        rows=(2, 14),
    ),
    Ailment(
        code="configuration-ignored",
        severity="warning",
        title="Settings that have no effect",
        symptom="a setting is written down and nothing changes; no message",
        causes=(
            "a key is spelled otherwise: keys are case sensitive (PCCS_URL is one of the old format)",
            'a value of the wrong type: "use_secure_cert": "false" has quotes too many',
            "a key is there twice: the first one wins",
        ),
        why="The library passes over what it does not know, and the default holds.",
        mends=(_LINT, _RESTART),
        rows=(14,),
    ),
    Ailment(
        code="configuration-slash",
        severity="error",
        title="The address does not end in /",
        symptom=(
            "0xE011 «No certificate data for this platform» on a machine that is registered; the PCCS "
            "logs 404 for …/v4pckcert"
        ),
        causes=("pccs_url, collateral_service or local_pck_url was written without its last /",),
        why=(
            "The library appends to the address as it is. The 404 that comes back looks exactly as for "
            "a machine that nobody has registered."
        ),
        mends=("end the address in /: `sudo dcap qcnl write --migrate` does", _RESTART),
        rows=(1,),
    ),
    Ailment(
        code="configuration-api-retired",
        severity="error",
        title="An address of an API that is gone, or that has no TDX",
        symptom="0xE062 or 0xE061 for TDX, 0xE044 (HTTP 410) or 0xE01B from Intel or its PCCS",
        causes=("the address holds /v3/ (or /v2/), from a configuration of before 2023",),
        why=(
            "Intel has retired API v3 of its service, and no PCCS has /tdx/certification/v3/. What is "
            "needed for TDX, and all new collateral, is served under /v4/ alone."
        ),
        mends=("write /v4/: `sudo dcap qcnl write --migrate` does", _RESTART),
        rows=(17,),
    ),
    Ailment(
        code="configuration-api-old",
        severity="warning",
        title="An address of API v3",
        symptom="works for SGX with an older PCCS; fails for TDX, and when that PCCS is upgraded",
        causes=("the address holds /v3/, from a configuration of before 2023",),
        why="Intel has retired API v3: a PCCS has nothing new to give under it.",
        mends=("write /v4/: `sudo dcap qcnl write --migrate` does", _RESTART),
        rows=(17,),
    ),
    Ailment(
        code="configuration-intel-pccs-url",
        severity="error",
        title="Intel's own service as pccs_url, on a machine that makes quotes",
        symptom="0xE044 while a quote is made; collateral works",
        causes=("the address of Intel's service was taken for that of a PCCS",),
        why=(
            "Intel gives PCK certificates only with a subscription key, which the library does not "
            "send unasked: the answer is 401."
        ),
        mends=(
            (
                "`sudo dcap qcnl write --pccs https://HOST:8081/ --intel-pcs`: certificates from a "
                "PCCS, collateral from Intel"
            ),
            "`dcap pccs serve` is such a PCCS",
        ),
        rows=(5,),
    ),
    Ailment(
        code="configuration-address",
        severity="error",
        title="An address or version that cannot work",
        symptom="0xE019, or 0xE001 when collateral is fetched",
        causes=(
            "no https:// before it, a blank in it, or a ? that swallows the path",
            "no /sgx/ in collateral_service, which TDX needs",
            'a pccs_api_version other than "3.0" and "3.1" (it is not the v4 of the address)',
        ),
        why="Every request that is made of it fails, or all collateral is refused at its end.",
        mends=(_LINT, _RESTART),
        rows=(2, 17),
    ),
    Ailment(
        code="configuration-differs",
        severity="warning",
        title="Settings that do something else than they say",
        symptom="depends on the setting; the library says nothing",
        causes=(
            "Intel's own service without pccs_api_version 3.1: collateral is stamped 3.0 and holds DER",
            "hours beyond 2160, text that is not UTF-8, comments behind values of the old format",
        ),
        why="The file is obeyed, but not as it reads.",
        mends=(_LINT, _RESTART),
        rows=(10, 14),
    ),
    Ailment(
        code="configuration-retry-forever",
        severity="error",
        title="A program that waits for ever",
        symptom="a hang at sgx_qe_get_target_info, or of qgsd, whenever the PCCS is away",
        causes=("retry_times or retry_delay is negative",),
        why=(
            "The number is taken for an unsigned one: 4294967295 attempts, or seconds. The library "
            "knows no timeout of its own beside."
        ),
        mends=("write 6 and 10, as Intel does", _RESTART),
        rows=(15,),
    ),
    Ailment(
        code="configuration-retry-long",
        severity="warning",
        title="More than a minute of attempts",
        symptom="each quote or verdict hangs for a minute and more while the PCCS is away",
        causes=("retry_times times retry_delay is above 60 s (with delay 0: 1, 2, 4 … seconds)",),
        why="The caller is blocked for all of it, at each request, and callers behind it as well.",
        mends=("lower retry_times or retry_delay",),
        rows=(15,),
    ),
    Ailment(
        code="configuration-tls-off",
        severity="warning",
        title="No server's certificate is checked",
        symptom="none",
        causes=("use_secure_cert is false, often for a PCCS with a certificate of its own making",),
        why=(
            "Whoever is on the way can read requests, which name this machine (its PPID, encrypted to "
            "Intel), and withhold answers. What Intel has signed cannot be forged by it."
        ),
        mends=(
            (
                "`dcap qcnl write --pccs URL --ca FILE` prints how its CA comes into the system's "
                "store, and switches the check on"
            ),
        ),
        rows=(3,),
    ),
    Ailment(
        code="configuration-not-reread",
        severity="warning",
        title="The configuration was changed after a process had read it",
        symptom="edits have no effect",
        causes=("aesmd, qgsd or a program was not restarted since",),
        why="Each process reads the file once, at its first request, and never again.",
        mends=("`sudo systemctl restart aesmd`, `qgsd`; start programs anew",),
        rows=(14,),
    ),
    Ailment(
        code="configuration-two-files",
        severity="warning",
        title="Shell and daemons read different configurations",
        symptom="edits have no effect; a test in the shell works and the daemon does not, or vice versa",
        causes=("QCNL_CONF_PATH is set in one of them alone",),
        why="The variable counts for the process that has it; a unit does not see the shell's.",
        mends=(
            "`unset QCNL_CONF_PATH`, and keep one file in /etc",
            (
                "or set it in the unit: `sudo systemctl edit aesmd`, [Service] "
                "Environment=QCNL_CONF_PATH=FILE"
            ),
        ),
        rows=(14,),
    ),
    Ailment(
        code="configuration-other-file",
        severity="warning",
        title="Another file was edited",
        symptom="edits have no effect; 0xE019, for https://localhost:8081 is still asked",
        causes=(
            "network_setting.conf is the PCK ID retrieval tool's, which only registers the machine",
            "default.json is the PCCS's: its port has to be repeated in qcnl.conf",
        ),
        why="None of these files is read by the library that makes and verifies quotes.",
        mends=("`sudo dcap qcnl write --pccs https://HOST:PORT/`", _RESTART),
        rows=(2, 14),
    ),
)
