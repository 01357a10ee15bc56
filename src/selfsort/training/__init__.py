"""The training of networks: the one loop, its recipe, its data, and what happens beside it. No label comes in here."""
