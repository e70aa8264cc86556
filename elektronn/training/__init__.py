"""Step, trainer, optimisers, losses, history, checkpoint, control."""
