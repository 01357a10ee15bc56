"""Who computes the shards: one file each, with a function `run`; see `selfsort.sharded.job.ShardEngine`."""
