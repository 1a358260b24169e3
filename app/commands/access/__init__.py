"""Commands about tokens and rights."""
