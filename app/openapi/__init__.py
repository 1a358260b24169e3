"""The description of the API: the OpenAPI document, the page that shows it, and the types of problems.

Begin with operation.py; a family of routes has its operations in `operations/`.
"""
