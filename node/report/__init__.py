"""The governance report of a month: from the database and its log alone, as one HTML file and as PDF."""
