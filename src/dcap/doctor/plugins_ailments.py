"""What can be wrong with quote providers, as people read it. A table alone: `plugins` looks.

The mends are those of `qpl.discovery_remarks`, so that the doctor and `dcap provider list` advise the
same.
"""

from typing import Final

from dcap.doctor.finding import Ailment, Severity
from dcap.qpl.discovery_remarks import COMMANDS, PLACES, PROBLEMS

#: Of these discovery never says more than advice; all others are errors where they do harm.
ALWAYS_ADVICE: Final = frozenset(
    {
        "plugins-logging",
        "plugins-azure-noise",
        "plugins-azure-elsewhere",
        "plugins-not-azure",
        "plugins-bundle-masked",
    }
)
_NO_PLUGIN: Final = (
    '"Cannot open Quote Provider Library libdcap_quoteprov.so.1 and libdcap_quoteprov.so", 0xE00E, '
    "OE_QUOTE_PROVIDER_LOAD_ERROR"
)
_WITHOUT: Final = (
    "Without a plugin, Intel's quoting puts the encrypted PPID into the quote in place of a "
    "certificate, and verifiers say 0xE01C much later; Intel's verifying library and Open Enclave "
    "fail at once."
)
_LOADER: Final = (
    "Each program looks by a rule of its own, and says only that it found nothing, not where."
)

# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
#: Code -> rows of §6, title, symptom, causes, why.
_ROWS: Final[dict[str, tuple[tuple[int, ...], str, str, tuple[str, ...], str]]] = {
    "plugins-none": ((4, 6), "No quote provider is installed", _NO_PLUGIN + "; or a quote that "
        "verifiers refuse with 0xE01C",
        ("Intel's quoting library was installed alone: the plugin is a package of its own.",
         "A minimal image left out what packages only recommend."),
        _WITHOUT),
    "plugins-differ": ((7,), "Programs of one host load different plugins",
        ("A quote is made with one service's certificate, and verified with another's collateral; one "
        "program works where another fails."),
        ("Intel's and Azure's package are both installed, in two folders and under two names.",),
        ("Conclave takes the first of four paths, Open Enclave the bare name, Intel's libraries the "
        "versioned one: each another plugin, with another configuration.")),
    "plugins-several": ((7,), "More than one plugin is installed",
        "The configuration that was edited is not the one that counts; Azure's messages on bare metal.",
        ("A cloud's image was carried over to another machine.",
         "az-dcap-client came as a dependency of something else."),
        "Which plugin is loaded then depends on the order of folders; an update can turn it around."),
    "plugins-bare-name": ((6,), "libdcap_quoteprov.so is missing beside libdcap_quoteprov.so.1",
        "OE_QUOTE_PROVIDER_LOAD_ERROR, in Open Enclave and EGo, though the plugin is installed",
        ("Intel's runtime package has the versioned name alone; the bare one comes with -dev.",),
        _LOADER),
    "plugins-versioned-name": ((6,), "libdcap_quoteprov.so.1 is missing beside libdcap_quoteprov.so",
        "0xE00E in qgsd and Intel's verifying library, with Azure's plugin installed",
        ("Azure's package has the bare name alone.",),
        _LOADER),
    "plugins-elsewhere": ((6,), "The plugin lies where a program does not look",
        "Conclave says that there is none, though other programs load it",
        ("The distribution puts libraries into /usr/lib64; Conclave looks in Debian's folders alone.",),
        _LOADER),
    "plugins-stale-cache": ((6,), "The system's loader does not know the plugin yet", _NO_PLUGIN,
        ("A file was copied, and no `ldconfig` run.",
         "An image was put together without its packages' scripts."),
        "The loader looks into its cache, not into all folders."),
    "plugins-dangling": ((6,), "A plugin is a link to nothing", _NO_PLUGIN,
        ("An update removed the file that a link made by hand pointed to.",),
        "Conclave passes it by; the system's loader fails, and so does what asks for it."),
    "plugins-denied": ((6,), "A plugin may not be read", _NO_PLUGIN + ", for one user alone",
        ("It was copied by root under a strict umask.",),
        "A library that cannot be read cannot be loaded."),
    "plugins-not-elf": ((6,), "A plugin is no library",
        '"invalid ELF header", "file too short"',
        ("A download's error page was saved under its name.", "An installation was broken off."),
        "It hides a good one that stands behind it."),
    "plugins-malformed": ((6,), "A plugin is damaged", '"ELF file\'s phentsize not the expected size"',
        ("The file was cut where it was copied.",),
        "It hides a good one that stands behind it."),
    "plugins-architecture": ((6,), "A plugin is for another processor", '"wrong ELF class: ELFCLASS32"',
        ("The package of another architecture was installed, or a 32-bit one.",),
        "The loader passes it by; Conclave, which takes the first path that is there, fails."),
    "plugins-dependencies": ((6,), "A library that the plugin needs is missing",
        _NO_PLUGIN + ", though the file is there",
        ("The plugin was copied by itself, without its package's dependencies.",
         "It was built against another release's OpenSSL or libcurl."),
        "The plugin is not loaded; what programs say names the plugin, not the library."),
    "plugins-unresolved": ((6,), "A function that the plugin needs is in no library",
        '"undefined symbol", "unresolved"',
        ("The plugin and a library of its come from two releases.",),
        "Conclave refuses it at once; other programs end when they first call it."),
    "plugins-libcurl": ((6,), "Intel's plugin is here without libcurl",
        "The plugin loads, and every request of it fails",
        ("libcurl is opened when it is needed, and a minimal image does not have it.",),
        "Nothing can be fetched: no certificate, no collateral."),
    "plugins-symbols": ((6,), "A program refuses the plugin for what it lacks", "0xE00E",
        ("The plugin is older than the program, or of another make (Azure's lacks some functions).",),
        "A program without its plugin has none."),
    "plugins-logging": ((9,), "aesmd cannot hand its log to the plugin: harmless",
        '"Failed to set logging callback for the quote provider library" in the log of aesmd',
        ("Azure's plugin has no sgx_ql_set_logging_callback.",),
        ("It does no harm: Azure's plugin writes to stdout instead. It is often taken for the cause of "
        "something else.")),
    "plugins-azure-noise": ((8,), "Azure's plugin prints an error that is none",
        ('"Azure Quote Provider: libdcap_quoteprov.so [ERROR]: Could not retrieve environment variable '
        "for 'AZDCAP_DEBUG_LOG_LEVEL'\""),
        ("The variable is not set.",),
        "It is cosmetic, but it goes to stdout, into whatever reads that."),
    "plugins-azure-elsewhere": ((7,), "Azure's plugin, and this is no machine of Azure's",
        "0xE019 or long waits: the plugin asks 169.254.169.254, which only Azure has",
        ("An image of Azure's was carried over, or the package came as a dependency.",),
        "Azure's cache has certificates of Azure's machines alone."),
    "plugins-not-azure": ((7,), "A machine of Azure's with Intel's plugin",
        "0xE019 at https://localhost:8081",
        ("Intel's package was installed after its manual, which knows no Azure.",),
        "The certificates of this machine are in Azure's cache; Intel's plugin has to be told so."),
    "plugins-bundle-masked": ((7,), "Conclave's own plugin is masked by an installed one",
        "Conclave asks another service than it would by itself",
        ("Any plugin in the system's folders comes before the one that Conclave brings.",),
        "An installed plugin needs a configuration; Conclave's own would need none in Azure."),
}
# fmt: on

_IDLE: Final = Ailment(
    code="plugins-idle",
    severity="warning",
    title="A plugin is broken or out of the way, and hinders nobody now",
    symptom="None, until another program is installed, or the good plugin removed.",
    causes=("What is left of an older installation.",),
    why="It will be found first by somebody.",
    mends=("Take it away, or repair it: `dcap provider list` has the command.",),
    rows=(6,),
)


def _ailment(code: str) -> Ailment:
    rows, title, symptom, causes, why = _ROWS[code]
    severity: Severity = "warning" if code in ALWAYS_ADVICE else "error"
    places = {**PLACES, "command": COMMANDS.get(code, "")}
    return Ailment(
        code=code,
        severity=severity,
        title=title,
        symptom=symptom,
        causes=causes,
        why=why,
        mends=tuple(PROBLEMS[code][1].format_map(places).splitlines()),
        rows=rows,
    )


PLUGINS: Final[tuple[Ailment, ...]] = (*map(_ailment, _ROWS), _IDLE)
