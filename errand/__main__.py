"""`python -m errand` is the command `errand`, also where the command itself is not on the PATH."""

from __future__ import annotations


def main(*, prog: str = "errand") -> None:
    """Runs the command that the process's arguments name."""
    # a process of the pool imports the program that its worker was started as, and has no use for more of it
    from errand.cli.main import main as run

    run(prog=prog)


if __name__ == "__main__":
    main(prog="python -m errand")
