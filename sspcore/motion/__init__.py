"""How frames move: geometry, optical flow, registration, and the cache of both."""
