"""What leaves a run: tables and sorted folders."""
