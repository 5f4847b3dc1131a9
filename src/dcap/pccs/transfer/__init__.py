"""What goes into a PCCS's store and out of it as files: imports that prove everything, exports.

    report = import_platform_collaterals(store, data, at=…, anchor=…)   # Intel's file: all or nothing
    report = import_intel_database(store, "pckcache.db", at=…, anchor=…)
    report = import_directory(store, path, at=…, anchor=…)

Each reader makes claims of what it finds; `intake` proves them and keeps them in one transaction.
Not here: fetching (`pccs.upstream`), backups of our own store (`pccs.store.backup`).
"""
