"""Pictures: where they come from, how they are decoded, and the sets that everything else works on."""
