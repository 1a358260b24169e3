"""Many agents at once, some of whose changes collide: what lands, after how many attempts, and after how long."""
