"""Floor 2: the services' languages, both directions, as values. Nothing here opens a connection.

A resource is a request and a response; each can be read and written, so that client, cache and
simulator speak from the same table.
"""
