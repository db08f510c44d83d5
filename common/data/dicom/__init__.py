"""DICOM images of one grey frame, from bytes to what a radiologist sees. Free of torch, so that workers stay small."""
