"""What leaves a run: tables of predictions (a format is one file), sorted folders, links; nothing trains here."""
