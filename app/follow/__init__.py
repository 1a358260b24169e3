"""Taking the commits of another Git server's branch as changesets: follower.py, and upstream.py for the Git side."""
