"""What requests about the past say: tags, commits, versions of files."""
