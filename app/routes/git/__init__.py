"""The handlers of what concerns other Git repositories."""
