"""What can be wrong with what lies in caches: the ailments of `caches`."""

from typing import Final

from dcap.doctor.finding import Ailment

AILMENTS: Final = (
    Ailment(
        code="caches-expired",
        severity="error",
        title="Collateral is served from a cache after its end",
        symptom=(
            "0xE02C (TCB info), 0xE02E (CRL) or 0xE030 (identity) expired; verdicts "
            "«collateral expired» though the PCCS has new collateral"
        ),
        causes=(
            (
                "Intel's library keeps collateral for verify_collateral_cache_expire_hours (168), "
                "and never looks at its nextUpdate"
            ),
            "Azure's client keeps what it fetched for as long as the server said",
            "the PCCS gave what was about to end already",
        ),
        why=(
            "A verifier takes TCB info, identities and CRLs only until the end that Intel signed into "
            "them. The cache hands them out until its own limit, and nobody is asked for newer ones. "
            "After a TCB recovery the same holds for what is merely old."
        ),
        mends=(
            (
                "remove the files that are named, then `sudo systemctl restart aesmd qgsd`: they "
                "keep 20 entries in memory as well"
            ),
            "lower verify_collateral_cache_expire_hours",
        ),
        rows=(12,),
    ),
    Ailment(
        code="caches-expiring",
        severity="warning",
        title="Collateral in a cache is about to end, and will be served beyond it",
        symptom="none yet; in some days 0xE02C, 0xE02E or 0xE030",
        causes=("the cache's own limit is later than the nextUpdate of what it keeps",),
        why="Nothing newer is asked for before the cache's own limit.",
        mends=("remove the files that are named", "lower verify_collateral_cache_expire_hours"),
        rows=(12,),
    ),
    Ailment(
        code="caches-corrupt",
        severity="warning",
        title="A cache has entries that nobody can read",
        symptom="none, or 0xE001; the library fetches them anew, or fails over them",
        causes=("a disk that was full, a crash, a file of another release, or by another hand",),
        why=(
            "Intel's library removes what it cannot read, if its account may; Azure's gives it to the "
            "caller as it is."
        ),
        mends=("remove the files that are named",),
        rows=(12, 13),
    ),
    Ailment(
        code="caches-offline",
        severity="error",
        title="Without the network, and with collateral that ends",
        symptom="`dcap verify` says that no collateral is to be had (exit status 6)",
        causes=("DCAP_OFFLINE is set, and nobody brings new collateral",),
        why="dcap serves nothing beyond its end; Intel renews everything within 30 days.",
        mends=("`DCAP_OFFLINE=0 dcap verify QUOTE` once in a while, or a folder of collateral",),
        rows=(12,),
    ),
    Ailment(
        code="caches-unprepared",
        severity="error",
        title="Certificates are to come from a prepared cache, and none is there",
        symptom="0xE001 (QCNL 0xB031 or 0xB032) while a quote is made; the PCCS's log is empty",
        causes=(
            "local_cache_only is true, and the cache of the account that quotes was never filled",
            "the prepared entries have ended: an ended one is deleted when it is used",
        ),
        why="With local_cache_only neither pccs_url nor local_pck_url is asked for PCK certificates.",
        mends=("`dcap pccs cache -i platform_list.json`", "set local_cache_only to false"),
        rows=(1, 12),
    ),
)
