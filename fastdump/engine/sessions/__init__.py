"""The kinds of consistency with which a server is read: none, snapshot, oplog and lock."""
