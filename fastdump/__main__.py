"""Run the command line as `python -m fastdump`."""

from fastdump.cli import entry_point

if __name__ == "__main__":
    entry_point()
