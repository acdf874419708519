"""Sources of labelled images and their partitions."""
