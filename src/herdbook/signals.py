"""Signals that tell a server to stop."""

import signal
import threading
from collections.abc import Callable
from types import FrameType


def before_stop(act: Callable[[], object]) -> None:
    """Call `act` at each signal to stop, before the present handler, which waits for pending answers."""
    if threading.current_thread() is not threading.main_thread():
        return  # Only the main thread can handle signals.
    for number in (signal.SIGTERM, signal.SIGINT):
        handled = signal.getsignal(number)
        if callable(handled) and handled is not signal.default_int_handler:

            def handle(number: int, frame: FrameType | None, then: Callable[[int, FrameType | None], object] = handled) -> None:
                act()
                then(number, frame)

            signal.signal(number, handle)
