"""The only room that knows PyMongo: it connects, lists collections, fetches and loads documents.

Importing it checks that the `bson` package is PyMongo's own. The package of the same name on PyPI
overwrites it, and PyMongo then fails with errors that do not show the cause.
"""

from __future__ import annotations

from fastdump.errors import UsageError


def _check_bson() -> None:
    try:
        import bson

        own = hasattr(bson, "decode_all") and hasattr(bson, "encode")
    except ImportError:
        own = False
    if not own:
        raise UsageError(
            "the package 'bson' from PyPI is installed over PyMongo's own and breaks it: "
            "run 'pip uninstall -y bson pymongo' and then 'pip install pymongo'"
        )


_check_bson()
