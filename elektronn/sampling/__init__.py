"""Cut, augment, batch, prefetch; every draw is a function of (seed, step, example, purpose)."""
