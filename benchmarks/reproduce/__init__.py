"""The papers' figures and tables at the scale at hand."""
