"""A DICOM study in, DICOM objects out: no sockets, no database, no site configuration."""
