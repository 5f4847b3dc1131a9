"""What can be wrong with AESM, QGS and their packages: the table of the family `daemons`.

Source: `quote-provider.md` §5.4, §5.6, §6 rows 11, 16, 19 and 20.
"""

from typing import Final

from dcap.doctor.finding import Ailment

_NOBODY: Final = (
    "Gramine: `Cannot connect to aesm_service`; SGX_ERROR_SERVICE_UNAVAILABLE (0x4001), 0xE00D "
    "with SGX_AESM_ADDR set"
)
_WHY_AESM: Final = (
    "Programs that ask AESM (Gramine, and all where SGX_AESM_ADDR is set) get no quote. Those that "
    "make it in-process do."
)
_WHY_QGS: Final = "QGS signs for every trust domain of the host: all of them are without quotes."

AILMENTS: Final[tuple[Ailment, ...]] = (
    Ailment(
        code="aesmd-not-installed",
        severity="error",
        title="Programs are told to ask AESM, which is not installed",
        symptom=f"{_NOBODY}; 0xE052",
        causes=("SGX_AESM_ADDR is set, in the shell or an image, and sgx-aesm-service is missing",),
        why="With SGX_AESM_ADDR set, Intel's library makes no quote itself.",
        mends=(
            "`sudo apt install sgx-aesm-service libsgx-aesm-ecdsa-plugin libsgx-aesm-quote-ex-plugin`",
            "or have quotes made in-process: `unset SGX_AESM_ADDR`",
        ),
        rows=(11,),
    ),
    Ailment(
        code="aesmd-not-running",
        severity="error",
        title="AESM is installed, but does not run",
        symptom=_NOBODY,
        causes=(
            "the service is not enabled, was stopped or masked",
            "it ended as it started: no SGX device, or none that its account may open",
        ),
        why=_WHY_AESM,
        mends=("`sudo systemctl enable --now aesmd`", "`sudo journalctl -u aesmd -n 50`"),
        rows=(11,),
    ),
    Ailment(
        code="aesmd-not-enabled",
        severity="warning",
        title="AESM runs, but does not start with the machine",
        symptom="all is well until the machine is restarted",
        causes=("the unit was started by hand and never enabled",),
        why="After the next restart quotes fail, and nobody will think of it.",
        mends=("`sudo systemctl enable aesmd`",),
        rows=(11,),
    ),
    Ailment(
        code="aesmd-socket-absent",
        severity="error",
        title="AESM runs, but its socket is not there",
        symptom=_NOBODY,
        causes=(
            "/var/run/aesmd was removed while it ran (a cleaner of /run, a reinstallation)",
            "it hangs as it starts: an enclave does not load",
        ),
        why=_WHY_AESM,
        mends=("`sudo systemctl restart aesmd`",),
        rows=(11,),
    ),
    Ailment(
        code="aesmd-socket-stale",
        severity="error",
        title="Nobody listens at AESM's socket",
        symptom=f"{_NOBODY}; `connect: Connection refused`",
        causes=(
            "AESM was restarted, and a container still has the socket that was mounted before",
            "it ended in a way that left its socket behind",
        ),
        why=_WHY_AESM,
        mends=(
            "`sudo systemctl restart aesmd`",
            "containers: mount the folder, `-v /var/run/aesmd:/var/run/aesmd`, and start them anew",
        ),
        rows=(11,),
    ),
    Ailment(
        code="aesmd-denied",
        severity="error",
        title="AESM's socket may not be opened",
        symptom="`connect: Permission denied` on /var/run/aesmd/aesm.socket",
        causes=(
            "folder or socket were made with a strict umask",
            "AppArmor or SELinux of the program forbids it",
        ),
        why="AESM serves every account of the machine: its socket is for all.",
        mends=("`sudo chmod 755 /var/run/aesmd && sudo chmod 666 /var/run/aesmd/aesm.socket`",),
        rows=(11,),
    ),
    Ailment(
        code="aesmd-silent",
        severity="error",
        title="AESM does not answer",
        symptom="programs hang at their quote, or time out; AESM error 12 or 30 now and then",
        causes=(
            "it waits for its PCCS: Intel's provider has no limit of time",
            "it is busy with many requests, which it serves one after the other",
        ),
        why=_WHY_AESM,
        mends=("`sudo journalctl -u aesmd -n 50`", "`sudo systemctl restart aesmd`"),
        rows=(11, 15),
    ),
    Ailment(
        code="aesmd-broken-answer",
        severity="error",
        title="What answers at AESM's socket is not AESM",
        symptom="clients complain of the message, or of a connection that was closed",
        causes=("AESM crashes at each request", "another program listens there: a proxy, a test"),
        why=_WHY_AESM,
        mends=("`sudo ss -xlp | grep aesm` shows who listens", "`sudo systemctl restart aesmd`"),
        rows=(11,),
    ),
    Ailment(
        code="aesmd-error",
        severity="error",
        title="AESM answers with an error",
        symptom="an AESM error number in the log of the program",
        causes=(
            "2: it has no device, or may not open it",
            "30: a plugin did not start, for a library or an enclave is missing",
        ),
        why=_WHY_AESM,
        mends=("`dcap explain NUMBER`", "`sudo journalctl -u aesmd -n 50`"),
        rows=(11,),
    ),
    Ailment(
        code="aesmd-no-ecdsa",
        severity="error",
        title="AESM runs, but has no ECDSA",
        symptom="AESM error 38 (UNSUPPORTED_ATT_KEY_ID), 0xE00B; `AESM service returned error 38`",
        causes=(
            (
                "the plugins for ECDSA or the quoting enclave (QE3) are not installed: AESM's own "
                "package does not bring them"
            ),
            "they were installed while it ran, and it was not restarted",
        ),
        why="Without them AESM only knew EPID, which ended in 2025.",
        mends=(
            (
                "`sudo apt install libsgx-aesm-ecdsa-plugin libsgx-aesm-quote-ex-plugin "
                "libsgx-ae-qe3 && sudo systemctl restart aesmd`"
            ),
        ),
        rows=(11,),
    ),
    Ailment(
        code="aesmd-packages-missing",
        severity="error",
        title="Packages that AESM needs for ECDSA are missing",
        symptom="AESM error 38, 40 or 48",
        causes=("a plugin, a quoting library or an enclave was left out of the installation",),
        why="Each plugin loads another: where one is missing, all of ECDSA is.",
        mends=("`sudo apt install` what the finding names, then `sudo systemctl restart aesmd`",),
        rows=(11,),
    ),
    Ailment(
        code="aesmd-no-device",
        severity="error",
        title="AESM's own account may not open the SGX devices",
        symptom="AESM error 2 or 48, 0xE00D, 0xE035; log: `Failed to load QE3`",
        causes=(
            (
                "the account `aesmd` is not in the group of /dev/sgx_provision: the group was made "
                "after AESM, or has another name (`sgx`, `sgx_prv`)"
            ),
        ),
        why="AESM loads the quoting enclave under its own account, whoever asks it.",
        mends=("`sudo usermod -aG sgx_prv aesmd && sudo systemctl restart aesmd`",),
        rows=(11,),
    ),
    Ailment(
        code="aesmd-restarted",
        severity="warning",
        title="AESM was restarted while a program with an enclave ran on",
        symptom="AESM error 42 (ATT_KEY_NOT_INITIALIZED), 0xE00F; `AESM service returned error 42`",
        causes=("an update, a crash or an administrator restarted aesmd",),
        why="AESM holds its attestation key in memory. After a restart a program has to ask for "
        "the target info anew before its next quote; older ones do not.",
        mends=(
            "restart the program",
            "Gramine from 1.8 on (pull request 1881) begins anew by itself, and so does `dcap attest`",
        ),
        rows=(20,),
    ),
    Ailment(
        code="aesmd-epid-mixed",
        severity="warning",
        title="Packages of EPID and of DCAP are mixed",
        symptom="0xE014 (ENCLAVE_LOST), AESM errors that change from run to run",
        causes=("an old installation for EPID was extended for DCAP, not replaced",),
        why="Both bring quoting plugins to AESM; their enclaves are of different ages, and the "
        "network services that EPID's ask no longer exist.",
        mends=("`sudo apt remove` what the finding names, then `sudo systemctl restart aesmd`",),
        rows=(19,),
    ),
    Ailment(
        code="aesmd-releases-differ",
        severity="warning",
        title="Packages that belong together are of several releases",
        symptom="0xE014 (ENCLAVE_LOST), 0xE016, AESM error 46 or 48, symbols that are missing at load",
        causes=(
            "one package was upgraded alone, or is held back (`apt-mark showhold`)",
            "two repositories: Intel's and the distribution's",
        ),
        why="Runtime, plugins and enclaves of a release are tested together only.",
        mends=(
            "`sudo apt update && sudo apt install` all that the finding names, then restart AESM",
        ),
        rows=(19,),
    ),
    Ailment(
        code="qgsd-not-running",
        severity="error",
        title="QGS is installed, but does not run",
        symptom="guests: `Failed to get the quote`, an empty outblob, TDX_ATTEST_ERROR_QUOTE_FAILURE",
        causes=("the service is not enabled, was stopped, or ended as it started",),
        why=_WHY_QGS,
        mends=("`sudo systemctl enable --now qgsd`", "`sudo journalctl -u qgsd -n 50`"),
        rows=(16,),
    ),
    Ailment(
        code="qgsd-not-enabled",
        severity="warning",
        title="QGS runs, but does not start with the machine",
        symptom="all is well until the host is restarted",
        causes=("the unit was started by hand and never enabled",),
        why=_WHY_QGS,
        mends=("`sudo systemctl enable qgsd`",),
        rows=(16,),
    ),
    Ailment(
        code="qgsd-no-device",
        severity="error",
        title="QGS's own account may not open the SGX devices",
        symptom="guests: `Failed to get the quote`; log of qgsd: 0xE00D, 0xE035, `tee_att_init_quote`",
        causes=("the account `qgsd` is not in the group of /dev/sgx_provision",),
        why="QGS loads the TD quoting enclave under its own account. " + _WHY_QGS,
        mends=("`sudo usermod -aG sgx_prv qgsd && sudo systemctl restart qgsd`",),
        rows=(11, 16),
    ),
    Ailment(
        code="qgsd-configuration",
        severity="error",
        title="QGS cannot read its configuration",
        symptom="qgsd ends as it starts, or listens elsewhere than its guests ask",
        causes=(
            "a line of /etc/qgs.conf is neither `port = NUMBER` nor `number_threads = NUMBER`",
        ),
        why=_WHY_QGS,
        mends=("write `port = 4050` and `number_threads = 4`, then `sudo systemctl restart qgsd`",),
        rows=(16,),
    ),
    Ailment(
        code="qgsd-no-vsock",
        severity="error",
        title="QGS is to listen on vsock, which this host does not have",
        symptom="guests: `Failed to get the quote`; log of qgsd: `bind: No such device`",
        causes=("the module vhost_vsock is not loaded", "QEMU gives the guests no vsock device"),
        why="A guest with `port=` in /etc/tdx-attest.conf reaches QGS by vsock only.",
        mends=(
            "`sudo modprobe vhost_vsock && sudo systemctl restart qgsd`",
            "QEMU: `-device vhost-vsock-pci,guest-cid=3`",
        ),
        rows=(16,),
    ),
    Ailment(
        code="qgsd-socket",
        severity="error",
        title="Nobody answers at QGS's socket",
        symptom="guests: an empty outblob; QEMU: `quote-generation-socket` connects to nothing",
        causes=(
            "/var/run/tdx-qgs was removed while QGS ran",
            "QGS was started with a port on its command line, and listens on vsock alone",
        ),
        why="Without a port QGS is reached by QEMU at that socket, and by nobody else.",
        mends=("`sudo systemctl restart qgsd`",),
        rows=(16,),
    ),
)
