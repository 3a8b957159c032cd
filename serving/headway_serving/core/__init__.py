"""What serving decides, without any framework: routing, classification, ranking, and the errors it raises."""
