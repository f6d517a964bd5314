"""The command `backup`: read a server and write a backup."""
