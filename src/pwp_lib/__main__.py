"""``python -m pwp_lib`` is ``pwp``."""

from pwp_lib.cli import main

if __name__ == "__main__":
    main()
