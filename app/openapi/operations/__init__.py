"""The operations of the API, one module a family of routes."""
