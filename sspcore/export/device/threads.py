"""Work of a pipeline in a thread of its own. The standard library alone."""

from __future__ import annotations

import queue
import threading
from contextlib import closing, suppress


class _End(Exception):
    """Comes after the last item."""


def in_thread(items, room, dropped=None):
    """The items, made in a thread of their own, which ends when this iterator is closed. An error comes after what was made.

    Args:
        items: a generator.
        room: how many may wait to be taken, the one that is being made included; with `dropped` without it.
        dropped: called each time that the oldest waiting item has made room for a new one; None: the work waits.
    """
    box, free, closed = queue.Queue(), threading.Semaphore(room), threading.Event()

    def work():
        end = _End()
        try:
            with closing(items):
                while True:
                    if dropped is None:
                        free.acquire()
                    if closed.is_set() or (item := next(items, end)) is end:
                        break
                    if dropped is not None and box.qsize() >= room:
                        with suppress(queue.Empty):  # whoever takes them was faster
                            box.get_nowait()
                            dropped()
                    box.put(item)
        except Exception as error:  # handed to the thread that takes the items
            end.__cause__ = error
        box.put(end)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while not isinstance(item := box.get(), _End):
            free.release()
            yield item
    finally:
        closed.set()
        free.release()
        thread.join(timeout=5)
    if item.__cause__ is not None:
        raise item.__cause__
