"""`python -m fastdump` is the command `fastdump`."""

from fastdump.cli import entry_point

if __name__ == "__main__":
    entry_point()
