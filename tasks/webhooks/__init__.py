"""Delivering events to webhooks. Begin with tasks.py; delivery.py has a run for one webhook, sender.py its request."""
