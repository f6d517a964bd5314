"""Backups as folders and files that others read too: komodo, komodo-json, mongodump, archive."""
