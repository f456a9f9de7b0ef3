"""Stage `faces`: find, align, refine, check, put back."""
