"""The figures of the paper, and how close ours come."""
