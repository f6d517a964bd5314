"""Send messages about runs by the library apprise: mail, chats, and a hundred other services."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fastdump.errors import WatcherError

__all__ = ["send"]


def send(urls: Sequence[str], title: str, text: str, *, failed: bool) -> None:
    """Send a message to each address.

    Args:
        urls: the addresses in apprise's form.
        title: the subject.
        text: the message.
        failed: True if it is about a failure.

    Raises:
        WatcherError: apprise is not installed, or a message was not sent; it names the services
            without secrets.
    """
    try:
        from apprise import Apprise, NotifyType
    except ImportError:
        raise WatcherError(
            "no notification could be sent: install what it needs with pip install "
            "'fastdump[notify]'"
        ) from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it logs whole addresses
    unsent = []
    for number, url in enumerate(urls, 1):
        service = Apprise()
        if not service.add(url):
            unsent.append(f"number {number}, whose address apprise does not understand")
        elif not service.notify(
            text, title, notify_type=NotifyType.FAILURE if failed else NotifyType.SUCCESS
        ):
            shown: str = service[0].url(privacy=True)  # type: ignore[no-untyped-call]
            unsent.append(shown)
    if unsent:
        raise WatcherError(f"a notification could not be sent by {', '.join(unsent)}")
