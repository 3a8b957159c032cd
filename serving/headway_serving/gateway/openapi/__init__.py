"""What each route says of itself, as an OpenAPI document and as a page."""
