"""Parts of the benchmark of monitoring: a world of studies, our detectors over many streams, and the common choices."""
