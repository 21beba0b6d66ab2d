"""What the set-up scripts print: a progress line on a terminal, a few plain lines elsewhere."""

import os
import sys
import time

IS_TERMINAL = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class SetupError(Exception):
    """A failure whose message tells the user what to do; shown without a traceback."""


def say(line):
    print(line, file=sys.stderr, flush=True)


def run(main):
    """Runs `main` and turns its failures into a message and an exit status."""
    try:
        main()
    except SetupError as error:
        say("error: {}".format(error))
        sys.exit(1)
    except KeyboardInterrupt:
        say("\ninterrupted; the same command goes on from here")
        sys.exit(130)


def megabytes(size):
    return "{:.1f} MB".format(size / 1e6) if size < 10e6 else "{:.0f} MB".format(size / 1e6)


class Progress:
    """Progress of one job towards `total`; `show` renders an amount (bytes by default).

    A terminal gets one line that is rewritten; a log gets a line at most every ten seconds.
    """

    def __init__(self, label, total, show=megabytes):
        self.label, self.total, self.show = label, total, show
        self.interval = 0.1 if IS_TERMINAL else 10.0
        self.next = time.monotonic() + (0.0 if IS_TERMINAL else self.interval)

    def update(self, done):
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + self.interval
        done = min(done, self.total)
        percent = 100 * done // max(self.total, 1)
        self._line("{:>3}%  {} of {}".format(percent, self.show(done), self.show(self.total)))

    def finish(self, note):
        """Replaces the progress by its outcome."""
        self._line(note)
        if IS_TERMINAL:
            say("")

    def abandon(self):
        """Leaves the progress line as it is, so that what follows starts on its own line."""
        if IS_TERMINAL:
            say("")

    def _line(self, text):
        text = "{:<38} {}".format(self.label, text)
        if IS_TERMINAL:
            sys.stderr.write("\r\x1b[K" + text)
            sys.stderr.flush()
        else:
            say(text)
