"""Starts one server and ends it when our standard input ends. Run as a script, standard library only.

Arguments: stop signal name, seconds of grace before SIGKILL, system user or "-", then the server's command.
Writes the server's pid to standard output.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1


def main() -> int:
    stop_signal, grace_s, user = signal.Signals[sys.argv[1]], float(sys.argv[2]), sys.argv[3]
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)

    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def die_with_the_guard() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        for restored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(restored, signal.SIG_DFL)

    as_user = None if user == "-" else user
    server = subprocess.Popen(
        sys.argv[4:],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        stderr=sys.stderr,
        umask=0o077,
        # The lock's descriptor came to us open; the server inherits it and so keeps the folder taken.
        close_fds=False,
        preexec_fn=die_with_the_guard,  # safe: there is one thread
        user=as_user,
        group=as_user,
        extra_groups=[] if as_user else None,
    )
    print(server.pid, flush=True)

    while server.poll() is None:
        readable, _, _ = select.select([0, wake_read], [], [])
        if 0 in readable:
            server.send_signal(stop_signal)
            try:
                server.wait(grace_s)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        elif wake_read in readable:
            os.read(wake_read, 4096)
    return 0


if __name__ == "__main__":
    sys.exit(main())
