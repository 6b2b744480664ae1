"""Two tests never listen on one port, however many run at once."""

from __future__ import annotations

import socket
import subprocess
import sys

from tests.ports import free_port, take

TRY = "import sys; from tests.ports import take; print(take(int(sys.argv[1])))"


def test_a_port_is_given_once_while_the_process_lives_that_got_it() -> None:
    port = free_port()
    assert free_port() != port
    other = subprocess.run([sys.executable, "-c", TRY, str(port)], stdout=subprocess.PIPE, text=True, check=True)
    assert other.stdout == "False\n"


def test_a_port_that_somebody_listens_on_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not take(server.getsockname()[1])
