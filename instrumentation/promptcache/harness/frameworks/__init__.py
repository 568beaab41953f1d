"""What a plan means for prompts that a framework lays out."""
