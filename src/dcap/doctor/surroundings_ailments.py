"""What can be wrong with the environment of shell and services: the ailments of `surroundings`."""

from typing import Final

from dcap.doctor.finding import Ailment

_UNIT: Final = "for a daemon: `sudo systemctl edit NAME`, [Service] Environment=VARIABLE=VALUE"

AILMENTS: Final = (
    Ailment(
        code="surroundings-home",
        severity="warning",
        title="No HOME, or one that cannot be written: the cache is lost",
        symptom=(
            "the PCCS is asked for every quote, and quotes fail while it is away; «Error creating "
            "directory» in the log; a folder .dcap-qcnl in /tmp"
        ),
        causes=(
            "a daemon runs without User= in its unit: systemd then sets no HOME",
            "a container's user has no home in the image, or the root file system is read-only",
            "the unit hides /home (InaccessiblePaths, ProtectHome) and HOME is there",
        ),
        why=(
            "Intel's and Azure's libraries keep certificates and collateral below HOME. Where they "
            "cannot, they go on without a word, or in /tmp, where every account can put files before "
            "them. A quote then depends on the network each time."
        ),
        mends=(
            "give it a folder of its own: AZDCAP_CACHE=DIR, which has to be there already",
            _UNIT,
            "in a container `docker run -e HOME=DIR`",
        ),
        rows=(13,),
    ),
    Ailment(
        code="surroundings-cache-owner",
        severity="warning",
        title="The cache belongs to somebody else",
        symptom="«Permission denied» after the program was once run with sudo; the cache is not used",
        causes=(
            "the first run was with sudo, which kept HOME: root owns .dcap-qcnl or .az-dcap-client",
            "the service's account was changed",
        ),
        why="What cannot be written is asked for anew each time; what cannot be read, as well.",
        mends=("`sudo chown -R USER: ~/.dcap-qcnl ~/.az-dcap-client`",),
        rows=(13,),
    ),
    Ailment(
        code="surroundings-cache-shared",
        severity="warning",
        title="The cache lies where every account may write",
        symptom="none; or another account's cache is used, or cannot be",
        causes=(
            "an old .dcap-qcnl in /tmp is found before a new one would be made in HOME",
            "AZDCAP_CACHE=/tmp",
        ),
        why=(
            "Intel's library checks neither owner nor content of its cache: whoever makes the folder "
            "first can have quotes carry wrong certificates, and verdicts fail."
        ),
        mends=(
            "a folder for that account alone, by HOME or AZDCAP_CACHE; then remove the old one",
        ),
        rows=(13,),
    ),
    Ailment(
        code="surroundings-cache-base",
        severity="warning",
        title="A variable names a folder in which no cache can be made",
        symptom="«Error creating directory»; the cache is somewhere else, or nowhere",
        causes=(
            "AZDCAP_CACHE or XDG_CACHE_HOME names a folder that is not there, or not writable",
        ),
        why=(
            "Both libraries make one folder in it, not the folders above: it has to be there. Azure's "
            "client tries no other place."
        ),
        mends=("`mkdir -p DIR`, as the account that uses it",),
        rows=(13,),
    ),
    Ailment(
        code="surroundings-own-cache",
        severity="warning",
        title="dcap does not use its own cache",
        symptom="`dcap verify` asks its source each time; a remark says that the cache is not used",
        causes=("it was made with sudo, or others may write to it",),
        why="Whoever could write there could give old collateral: dcap trusts only its own and root's.",
        mends=("`chmod go-w ~/.cache/dcap`, `sudo chown -R USER: ~/.cache/dcap`",),
        rows=(13,),
    ),
    Ailment(
        code="surroundings-proxy",
        severity="warning",
        title="A proxy catches requests for this machine or the intranet",
        symptom="0xE019 (QCNL 0xB004, 0xB006) or 0xE044; the PCCS's log is empty",
        causes=("https_proxy is set, and no_proxy does not name the PCCS",),
        why=(
            "libcurl, which Intel's library uses, sends requests for localhost through the proxy too, "
            "and a proxy elsewhere cannot reach this machine's localhost."
        ),
        mends=("`export no_proxy=localhost,HOST`", _UNIT),
        rows=(2,),
    ),
    Ailment(
        code="surroundings-proxy-absent",
        severity="warning",
        title="The shell has a proxy and the daemon has none",
        symptom="0xE019 from aesmd or qgsd, while `curl` in the shell works",
        causes=("variables of a shell or of /etc/environment do not reach systemd's services",),
        why="Each service has the environment of its unit alone.",
        mends=(_UNIT,),
        rows=(2,),
    ),
    Ailment(
        code="surroundings-proxy-capitals",
        severity="warning",
        title="HTTP_PROXY in capitals is not read",
        symptom="http:// addresses are asked directly",
        causes=("libcurl reads http_proxy in small letters alone, for safety in CGI programs",),
        why="A PCCS or agent at an http:// address is asked without the proxy.",
        mends=("`export http_proxy=…`", _UNIT),
        rows=(2,),
    ),
    Ailment(
        code="surroundings-ca-variable",
        severity="warning",
        title="CAs by variable have no effect",
        symptom="0xE065 (QCNL 0xB033), while `curl` in the shell works",
        causes=("SSL_CERT_FILE, SSL_CERT_DIR or CURL_CA_BUNDLE is set for a CA of one's own",),
        why="Of CAs, Intel's library reads the system's bundle alone.",
        mends=(
            "`sudo cp CA.crt /usr/local/share/ca-certificates/ && sudo update-ca-certificates`",
        ),
        rows=(3,),
    ),
    Ailment(
        code="surroundings-azure-noise",
        severity="warning",
        title="Azure's client complains of a variable",
        symptom=(
            "«Azure Quote Provider: libdcap_quoteprov.so [ERROR]: Could not retrieve environment "
            "variable for 'AZDCAP_DEBUG_LOG_LEVEL'» on standard output"
        ),
        causes=("AZDCAP_DEBUG_LOG_LEVEL is not set",),
        why="It is harmless, but it stands in the output of programs, where others may parse it.",
        mends=(
            "`export AZDCAP_DEBUG_LOG_LEVEL=FATAL`: any value ends it, ERROR shows real errors",
        ),
        rows=(8,),
    ),
    Ailment(
        code="surroundings-azure-log",
        severity="warning",
        title="Azure's client writes everything to /tmp/dcapLog.txt",
        symptom="programs end with status 1, without a message, where that file cannot be written",
        causes=("AZDCAP_WRITE_LOGS_TO_FILE=TRUE",),
        why=(
            "It calls exit(1) where another account owns the file; and the log names this machine in "
            "a folder that everybody reads."
        ),
        mends=("`unset AZDCAP_WRITE_LOGS_TO_FILE`",),
        rows=(8,),
    ),
    Ailment(
        code="surroundings-variable",
        severity="warning",
        title="A variable without the effect that it seems to have",
        symptom="a setting has no effect; no message",
        causes=("its name is misspelled", "its value is none that is known"),
        why="Whoever reads it passes over what it does not know, without a word.",
        mends=("correct it, or unset it",),
        rows=(14,),
    ),
    Ailment(
        code="surroundings-test-root",
        severity="warning",
        title="The simulator's root is trusted",
        symptom="quotes of real machines are refused; those of a simulator are accepted",
        causes=("DCAP_INSECURE_TEST_ROOT is left over from a test",),
        why="A verdict under a test root says nothing about any real machine.",
        mends=("`unset DCAP_INSECURE_TEST_ROOT`",),
    ),
    Ailment(
        code="surroundings-not-restarted",
        severity="warning",
        title="A unit was edited, and its daemon not restarted",
        symptom="a proxy or variable that was set in the unit has no effect",
        causes=("`systemctl edit` does not restart what it edits",),
        why="A process keeps the environment with which it was started.",
        mends=("`sudo systemctl daemon-reload && sudo systemctl restart aesmd`",),
        rows=(14,),
    ),
)
