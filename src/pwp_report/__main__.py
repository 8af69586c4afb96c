"""``python -m pwp_report`` is ``pwp``."""

from pwp_report.cli import main

if __name__ == "__main__":
    main()
