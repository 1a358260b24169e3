"""Fields of `Settings` that belong together, each group with its checks. Begin with storage/base/settings.py."""
