// Figures to play with: see src/pwp_lib/output/interactive.py.
