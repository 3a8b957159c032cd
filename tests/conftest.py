"""What holds for every test."""

import signal

# A shell ignores Ctrl-C in what it runs in the background, and children inherit that: the processes that tests
# interrupt would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
