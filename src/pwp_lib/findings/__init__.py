"""What is concluded from the fits."""
