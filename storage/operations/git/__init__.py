"""What concerns other Git repositories, by entries of the log."""
