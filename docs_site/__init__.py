"""What `make docs` adds to the pages of docs/: the README, the reference, and working links."""
