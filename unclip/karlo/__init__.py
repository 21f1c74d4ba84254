"""Reading and writing Karlo, in diffusers' layout and in Kakao's own files."""
