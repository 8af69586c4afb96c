"""The commands of ``pwp``, one module each."""
