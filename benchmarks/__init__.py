"""Speed against peers, and calibration of the samplers: run by hand, never a test."""
