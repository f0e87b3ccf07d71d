"""`gan-lab play`: load a run, serve its page, and end quietly."""

from __future__ import annotations

import errno
import webbrowser

from gan_lab.core.files import printable
from gan_lab.interface.runs import load
from gan_lab.playing.playground import Playground
from gan_lab.playing.server import LOOPBACK, Server

PORT = 7860  # where people look for such pages


def play(run: str, *, which: str, device: str, port: int | None, opens: bool) -> int:
    """Serve a page for this run until Ctrl-C. `port` None is 7860 or, where that is taken, any free one.

    Raises ValueError where there is no run, it has nothing to play with, or the given port cannot be had.
    """
    check_port(port)
    server = opened(Playground(load(run, checkpoint=which, device=device), run), port)
    address = f"http://{LOOPBACK}:{server.server_port}"
    print(f"playing   {printable(run)}\npage      {address}  (Ctrl-C ends)", flush=True)
    if opens:
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
        server.lock.acquire()  # and keep it: no network runs while the process ends
    finally:
        server.server_close()
    return 0


def check_port(port: int | None) -> None:
    """Raise ValueError for a number that no port has."""
    if port is not None and not 0 <= port < 65536:
        raise ValueError(f"--port {port}: ports are 1 to 65535; 0 is any free one")


def opened(playground: Playground, port: int | None) -> Server:
    """A server at a port, or at the usual one or any. Raises ValueError where the given port cannot be had."""
    try:
        return Server(playground, PORT if port is None else port)
    except OSError as error:
        if port is not None:
            why = "another program has it" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
            raise ValueError(f"--port {port}: {why.lower()}; give another one, or 0 for any that is free") from error
        return Server(playground, 0)
