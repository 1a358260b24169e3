"""The routes of the API, one module a family; docs/api.md is their contract."""
