"""Layouts of backups that other programs read too: komodo, komodo-json, mongodump, archive."""
