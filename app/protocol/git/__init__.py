"""What requests and answers say of other Git repositories."""
