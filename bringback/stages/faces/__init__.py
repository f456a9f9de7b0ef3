"""Stage `faces`: finds, aligns, refines, checks and blends faces."""
