"""Who asks, and what they may do and know: authentication, callers, tokens and policies as documents, visibility.

Begin with authentication.py. The rights themselves are in storage/access.
"""
