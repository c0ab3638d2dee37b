"""What other people's viewers show of our results: OHIF in a headless Chromium on Orthanc's DICOMweb."""
