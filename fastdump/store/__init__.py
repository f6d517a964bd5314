"""Backups on disk: names, manifests, layouts, atomic appearance. No servers."""
