"""The model: moments, fits and posteriors."""
