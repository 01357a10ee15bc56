"""Learning from answers: names become weighted targets here, the only room in which they reach a network."""
