"""Learning from answers: where names become weighted targets, and the only room in which they reach a network."""
