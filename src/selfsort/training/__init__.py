"""The training of networks: the one loop, its recipe, its data, and what accompanies it. Labels never come in here."""
