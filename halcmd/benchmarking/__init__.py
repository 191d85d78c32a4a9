"""The measured whole: the loop with the truth as annotator, over strategies and seeds."""
