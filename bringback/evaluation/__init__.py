"""What judges the restoration and never teaches it: programs that made none of the training's lessons."""
