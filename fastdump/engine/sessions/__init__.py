"""How a server is read: plainly, as a snapshot, with an oplog, or locked."""
