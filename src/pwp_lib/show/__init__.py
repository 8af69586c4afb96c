"""What is shown: figures, sentences, the report."""
