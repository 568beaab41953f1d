"""Z.ai and Zhipu."""
