"""What the audit log tells: one study's story, the models that ran, and copies of it in the forms that others read.

All of it is made of events alone."""
