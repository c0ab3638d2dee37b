"""What shows that the audit log is whole: tree heads that are signed and kept elsewhere, and the check against them."""
