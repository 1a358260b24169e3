"""What imported histories need of Git's formats and of Git: deltas in packs, and what a running Git prints."""
