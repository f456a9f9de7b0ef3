"""Picture files to photos and back, with everything that their files know."""
