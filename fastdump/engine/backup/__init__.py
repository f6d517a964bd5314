"""The command backup."""
