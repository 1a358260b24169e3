"""What tests share: servers, worlds, models of what is tested, and processes that fail when asked to.

No test module imports another; what two of them need stands here (tests/test_layering.py sees to it).
"""
