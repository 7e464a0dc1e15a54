"""The threshold of scores, apart from modules that import PyTorch, since the help of commands names it."""

MIN_SCORE = 0.5  # minimum score of detections in results, reports, pages and sentences, and by default in files
