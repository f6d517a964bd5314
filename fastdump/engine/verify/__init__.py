"""The command verify: against the manifest, against a database, for documents with one `_id`."""
