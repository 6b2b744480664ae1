"""`python -m errand` is the command `errand`, also where the command itself is not on the PATH."""

from errand.cli.main import main

if __name__ == "__main__":
    main(prog="python -m errand")
