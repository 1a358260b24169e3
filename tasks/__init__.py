"""The Celery tasks, one module a family; each is a few lines around a function that needs no Celery."""
