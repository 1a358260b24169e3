"""How work with other Git repositories stands."""
