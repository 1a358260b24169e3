"""Who one is, tokens, and the policy."""
