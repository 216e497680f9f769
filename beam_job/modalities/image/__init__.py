"""Images: decoding, resizing, preprocessing, and their part of a served model."""
