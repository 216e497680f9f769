"""What the code stands on: files, object stores, caches, processes, threads, memory."""
