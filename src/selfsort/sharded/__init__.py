"""Features and predictions of very many pictures, in shards of a fixed number of them, by this process or by Ray."""
