"""The search that made the packaged synthetic cohort; see README.md."""
