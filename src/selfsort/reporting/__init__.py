"""Pages and figures for people, made of a finished run or audit; nothing here trains or chooses."""
