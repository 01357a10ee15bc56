"""Seeded random attacks on selfsort: damaged pictures and runs, kills, full disks, odd requests (`make fuzz`)."""
