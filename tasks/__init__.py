"""The Celery tasks, one module for each family; each task calls one function that needs no Celery."""
