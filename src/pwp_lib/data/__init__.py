"""What comes in, and what may go out."""
