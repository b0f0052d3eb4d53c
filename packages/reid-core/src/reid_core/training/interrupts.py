"""SIGINT and SIGTERM end a Lightning training as they end any other Python program."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.exceptions import SIGTERMException

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a process that SIGTERM ended, as shells report it."""
BROADCAST = "_broadcast_sigterm_tensor"


class Interrupts(pl.Callback):
    """A Lightning callback and context that keeps an interruption from looking like something else.

    Lightning (2.6) turns KeyboardInterrupt into SystemExit(1). On SIGTERM it finishes the step and raises
    SystemExit(None): exit status 0, as if the training had finished. With several processes it broadcasts at
    each step whether SIGTERM came, for which the host waits for the device
    (github.com/Lightning-AI/pytorch-lightning/issues/21487).

    Here KeyboardInterrupt stays what it is and SIGTERM raises SystemExit(143) at once, in each process by
    itself. Where the program has set a handler for SIGTERM, that one is called instead. Python lets the main
    thread alone set handlers; in other threads signals are left to the program.

    Example:
        >>> with Interrupts():
        ...     signal.raise_signal(signal.SIGTERM)
        Traceback (most recent call last):
        SystemExit: 143
    """

    def __enter__(self) -> Interrupts:
        self.in_main_thread = threading.current_thread() is threading.main_thread()
        if self.in_main_thread:
            self.before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
            self.launcher: Any = None
            self._take_sigterm()
        return self

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the handler in the place of Lightning's, which has just been set."""
        if self.in_main_thread:
            self.launcher = trainer.strategy.launcher
            self._take_sigterm()
        if hasattr(trainer.fit_loop.epoch_loop, BROADCAST):
            setattr(trainer.fit_loop.epoch_loop, BROADCAST, lambda: None)

    def _take_sigterm(self) -> None:
        if self.before[signal.SIGTERM] is not signal.SIG_IGN:
            signal.signal(signal.SIGTERM, self._terminate)
        else:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        if self.launcher is not None:
            self.launcher.kill(number)  # the processes that Lightning has started, not torchrun
        before = self.before[signal.SIGTERM]
        if callable(before):
            before(number, frame)
        else:
            raise SystemExit(TERMINATED)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.in_main_thread:
            for name, handler in self.before.items():
                if handler is not None:  # None: set by other code than Python's, which can't be put back
                    signal.signal(name, handler)
        if isinstance(error, SIGTERMException):
            raise SystemExit(TERMINATED) from error
        if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
