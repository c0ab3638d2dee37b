"""One file for each DICOM output, beside who made it (identity) and the gate before release (check)."""
