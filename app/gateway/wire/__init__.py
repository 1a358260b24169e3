"""What is on the wire: pkt-lines, the commands of protocol version 2, and bodies of requests."""
