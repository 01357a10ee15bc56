"""Pages and figures for people, made from a finished run or audit; nothing here trains or chooses."""
