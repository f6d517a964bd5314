"""The command `convert`: write a backup in another layout, without a server."""
