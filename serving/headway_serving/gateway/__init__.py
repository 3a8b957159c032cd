"""The HTTP gateway: Flask endpoints that translate, and the functions that compose the process."""
