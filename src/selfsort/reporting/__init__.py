"""What a run hands over: tables, sorted folders, figures and the HTML report."""
