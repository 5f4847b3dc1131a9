"""The administrator's client: what replaces `pccsadmin` and `pcsclient`, without a command line.

    RemotePccs(connect, url, token=…)      ask a PCCS, Intel's or ours (`remote`)
    Parts.parse(file)                      cut an import into parts that it takes (`parts`)
    Collector(supplier, at=…, anchor=…)    fetch from Intel what a list of machines needs (`collector`)
    Journal.at(path, kind, of=…)           what is done already: a second run goes on (`journal`)

Files are Intel's (`pccs.transfer`). Not here: flags, progress, exit statuses (`cli.pccs_*`).
"""
