"""Commands about advisory claims."""
