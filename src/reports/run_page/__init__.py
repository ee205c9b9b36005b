"""The page of a run, or of several runs side by side: one HTML file that needs nothing but itself."""
